//! Metrics for the trade aggregator in JavaScript: what an author declares, as the contract's exports.
//!
//! Not the windows themselves (`windows.js`). Invariant: whatever an author's function throws reaches the host's log
//! with its stack before it becomes a trap, and the trade that it choked on is named.

import host from "aggregator:plugin/host@0.1.0";
import { Windows } from "./windows.js";
import { pack, spans, unpack } from "./forms.js";

/** Rows in a flush, whatever the host asks for: so many are through long before its deadline. */
const MOST_ROWS = 64;

/** Declares a whole number, exact to 2^53. */
export const integer = (name) => ({ name, kind: { tag: "integer" } });
/** Declares a number; what is not finite is written as 0. */
export const float = (name) => ({ name, kind: { tag: "float" } });
/** Declares a text. */
export const text = (name) => ({ name, kind: { tag: "text" } });
/** Declares the clock of the flush, which the host writes by itself. */
export const clock = (name) => ({ name, kind: { tag: "clock" } });

/** Writes lines to the host's log. */
export const log = {
    debug: (...words) => host.log("debug", words.join(" ")),
    info: (...words) => host.log("info", words.join(" ")),
    warn: (...words) => host.log("warn", words.join(" ")),
    error: (...words) => host.log("error", words.join(" ")),
};
globalThis.console = { ...log, log: log.info };

// A plugin is a function of its input: what would make it another is refused with words.
Math.random = () => {
    throw new Error("a plugin has no randomness: the same input must give the same result");
};
// No arrow: `new Date()` is to be refused with the same words.
const withoutTime = function () {
    throw new Error("a plugin has no clock: trade.timeMs says when a trade was made");
};
globalThis.Date = Object.assign(withoutTime, { now: withoutTime });

/**
 * Makes a plugin of a metric over sliding windows; the module exports it under the name `aggregator`.
 *
 * - `name`, `version`: as people know it; `resultKey`: the last part of its Redis keys (the name, where not given).
 * - `fields`: what is written for each window, in this order.
 * - `columns`: optional columns of a trade, of `wallet` and `tx-hash`; `add` finds `trade.wallet`, `trade.txHash`.
 * - `counters`: numbers for /metrics that only rise, as an object of names and explanations; `add` is given a function
 *   `count(name, by = 1)`.
 * - `empty()`: a stretch of time without a trade. Of numbers (finite), texts, lists and objects.
 * - `add(pane, trade, count)`: adds a trade. Trades of a pane come in any order of time; `trade.offsetMs` says where
 *   in its pane one lies.
 * - `merge(pane, later)`: adds to `pane` what a later stretch holds. It must be associative, change nothing with an
 *   empty one on either side, and must not keep parts of `later`.
 * - `write(pane)`: gives the values of one window, an object of fields; what is left out is 0 or empty.
 * - `stateVersion`: raised when the form of a pane changes; state of another version is refused, never misread.
 */
export function metric(declared) {
    const metric = { version: "0.1.0", stateVersion: 1, columns: [], counters: {}, ...declared };
    const plugin = new Plugin({ resultKey: metric.name, ...metric });
    const wrapped = {};
    for (const name of ["configure", "describe", "exportState", "flush", "forget", "importState", "process", "touch", "trim"]) {
        wrapped[name] = (...values) => reported(plugin, name, () => plugin[name](...values));
    }
    return wrapped;
}

/** Words for the host in place of a result; no fault of the plugin. */
class Refusal {
    constructor(words) {
        this.words = words;
    }
}

/** Calls; says what is thrown with its stack, and at which trade, before it becomes a trap. */
function reported(plugin, call, body) {
    try {
        return body();
    } catch (error) {
        if (error instanceof Refusal) {
            throw error.words;
        }
        const stack = error?.stack ? `\n${error.stack}`.trimEnd() : "";
        host.log("error", `${call}: ${error}${stack}`);
        if (call === "process" && plugin.row !== null) {
            host.faultAt(plugin.row);
        }
        throw error;
    }
}

/** The one instance of a component. */
class Plugin {
    constructor(metric) {
        this.metric = metric;
        this.names = Object.keys(metric.counters);
        this.counted = this.names.map(() => 0);
        this.unknownTrades = 0;
        /** The trade that is being added. */
        this.row = null;
        this.count = (name, by = 1) => {
            const at = this.names.indexOf(name);
            if (at < 0) {
                throw new Error(`counters has no ${name}`);
            }
            this.counted[at] += by;
        };
    }

    describe() {
        const { name, version, stateVersion, columns, resultKey, fields, counters } = this.metric;
        return {
            name,
            version,
            stateVersion,
            columns: {
                wallet: columns.includes("wallet"),
                walletHash: false,
                txHash: columns.includes("tx-hash"),
            },
            resultKey,
            fields,
            gauges: [{ name: "tokens", help: "Tokens with trades in the longest window.", fold: "sum" }],
            counters: [
                { name: "late_trades", help: "Trades that came when the longest window had passed them." },
                { name: "unknown_trades", help: "Trades of tokens that were not introduced." },
                ...this.names.map((name) => ({ name, help: counters[name] })),
            ],
        };
    }

    configure(json) {
        let read;
        try {
            read = spans(json);
        } catch (error) {
            throw new Refusal(error.message);
        }
        const { resolutionMs, list } = read;
        this.windows = new Windows(this.metric, list.map((span) => span.lengthMs / resolutionMs));
        this.resolutionMs = resolutionMs;
        return {
            groups: list.map((span) => span.name),
            horizonMs: Math.max(...list.map((span) => span.lengthMs)),
            stepMs: resolutionMs,
        };
    }

    process(batch) {
        const { windows, resolutionMs } = this;
        for (const { id } of batch.newTokens) {
            windows.announce(id);
        }
        // Bound to names once: in an interpreter each look at a property costs as much as an addition.
        const { tokens, timesMs } = batch;
        const { add } = this.metric;
        let token = null;
        let step = null;
        let pane = null;
        for (let row = 0; row < tokens.length; row += 1) {
            this.row = row;
            const timeMs = timesMs[row];
            const itsStep = Math.floor(timeMs / resolutionMs);
            // Trades of one token stand together, and mostly in one step.
            if (pane === undefined || tokens[row] !== token || itsStep !== step) {
                token = tokens[row];
                step = itsStep;
                pane = windows.pane(token, step);
            }
            if (pane === null) {
                this.unknownTrades += 1;
            } else if (pane !== undefined) {
                add(pane, new Trade(batch, row, timeMs, timeMs - step * resolutionMs), this.count);
            }
        }
        this.row = null;
    }

    flush(clockMs, mostRows) {
        // The engine takes large numbers for negative ones.
        const maxRows = Math.min(mostRows >>> 0, MOST_ROWS);
        const { fields, write } = this.metric;
        const valued = fields.filter((field) => field.kind.tag !== "clock");
        const values = valued.map(() => []);
        const flushed = this.windows.flush(Math.floor(clockMs / this.resolutionMs), maxRows, (pane) => {
            const written = write(pane);
            for (let at = 0; at < valued.length; at += 1) {
                values[at].push(written[valued[at].name]);
            }
        });
        const counters = [this.windows.takeLate(), this.unknownTrades, ...this.counted];
        this.unknownTrades = 0;
        this.counted.fill(0);
        return {
            ...flushed,
            columns: valued.map((field, at) => column(field, values[at])),
            gauges: [this.windows.alive],
            counters,
        };
    }

    touch(tokens) {
        this.windows.touch(tokens);
    }

    exportState(since, cursor, maxBytes) {
        return this.windows.export(since, cursor, maxBytes >>> 0, pack);
    }

    trim(generation) {
        this.windows.trim(generation);
    }

    importState(version, newTokens, entries, removed) {
        if (version !== this.metric.stateVersion) {
            const { name, stateVersion } = this.metric;
            throw new Refusal(`${name} reads state of version ${stateVersion}, not of version ${version}`);
        }
        let pieces;
        try {
            pieces = unpack(entries);
        } catch (error) {
            throw new Refusal(`this is no packed state: ${error.message}`);
        }
        this.windows.import(newTokens, pieces, removed);
    }

    forget(tokens) {
        this.windows.forget(tokens);
    }
}

/** One trade: `side` is buy or sell, `native` in the chain's coin, `price` in USD. */
class Trade {
    constructor(batch, row, timeMs, offsetMs) {
        this.timeMs = timeMs;
        this.offsetMs = offsetMs;
        this.side = batch.sides[row] === 1 ? "buy" : "sell";
        this.native = batch.natives[row] / 1e9;
        this.amount = batch.amounts[row];
        this.price = batch.prices[row];
        this._batch = batch;
        this._row = row;
    }

    // Read when they are asked for: most trades' are not.
    get wallet() {
        return textAt(this._batch.wallets, this._row);
    }

    get txHash() {
        return textAt(this._batch.txHashes, this._row);
    }
}

/** A text of a column; empty where the column is not filled. */
function textAt({ bytes, ends }, row) {
    if (row >= ends.length) {
        return "";
    }
    const raw = String.fromCharCode.apply(null, bytes.slice(row === 0 ? 0 : ends[row - 1], ends[row]));
    // The engine has no TextDecoder; percent signs lead through the reader of URLs.
    return /[\x80-\xff]/.test(raw) ? decodeURIComponent(escape(raw)) : raw;
}

/** Turns the values of a field into a column. */
function column(field, values) {
    const { tag } = field.kind;
    if (tag === "text") {
        const bytes = [];
        const ends = values.map((value) => {
            const raw = unescape(encodeURIComponent(value ?? ""));
            for (let at = 0; at < raw.length; at += 1) {
                bytes.push(raw.charCodeAt(at));
            }
            return bytes.length;
        });
        return { tag: "texts", val: { bytes: new Uint8Array(bytes), ends } };
    }
    for (let at = 0; at < values.length; at += 1) {
        const value = Number.isFinite(values[at]) ? values[at] : 0;
        values[at] = tag === "integer" ? Math.trunc(value) : value;
    }
    return { tag: tag === "integer" ? "integers" : "floats", val: values };
}
