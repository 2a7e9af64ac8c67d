//! Texts and bytes that a metric meets: its configuration, and the pieces of its state.
//!
//! Not for what they mean. Invariant: a text that is accepted means what it means to the Rust SDK, and what was packed
//! is read back as it was, to the last bit.

const LONGEST_MS = 24 * 3_600_000;
const UNITS = { ms: 1, s: 1_000, m: 60_000, min: 60_000, h: 3_600_000, hour: 3_600_000 };

/** Reads a duration like `90s`, `4h` or `1m30s` in whole milliseconds; gives NaN where it is none. */
function durationMs(text) {
    const parts = [...text.matchAll(/([0-9]+(?:\.[0-9]+)?)(ms|s|min|m|hour|h)/gy)];
    const read = parts.reduce((length, part) => length + part[0].length, 0);
    if (parts.length === 0 || read !== text.length) {
        return NaN;
    }
    const ms = parts.reduce((sum, [, number, unit]) => sum + Number(number) * UNITS[unit], 0);
    return Number.isInteger(ms) ? ms : NaN;
}

/** Reads `{"windows": ["1min", "4h"], "resolution": "1s"}`, where both may be absent; throws words. */
export function spans(json) {
    const config = JSON.parse(json);
    const known = ["windows", "resolution"];
    const isText = (value) => typeof value === "string";
    const isList = Array.isArray(config?.windows) && config.windows.every(isText);
    const isObject = typeof config === "object" && config !== null && !Array.isArray(config);
    const { windows = "1min,5min,15min,30min,1hour", resolution = "1s" } = isObject ? config : {};
    const isKnown = isObject && Object.keys(config).every((key) => known.includes(key));
    if (!isKnown || !(isList || isText(windows)) || !isText(resolution)) {
        throw new Error(`the configuration looks like {"windows": ["1min", "1hour"], "resolution": "1s"}`);
    }
    const resolutionMs = durationMs(resolution);
    if (!(resolutionMs >= 1 && resolutionMs <= LONGEST_MS)) {
        throw new Error(`the resolution "${resolution}" is not between 1ms and 24h`);
    }
    const names = (isList ? windows : windows.split(",")).map((name) => name.trim());
    if (names.length === 0) {
        throw new Error("the list of windows is empty");
    }
    const list = names.map((name) => ({ name, lengthMs: durationMs(name) }));
    list.forEach(({ name, lengthMs }, at) => {
        if (!(lengthMs >= 1 && lengthMs <= LONGEST_MS)) {
            throw new Error(`the window "${name}" is not like 10min, 90s or 1m30s, up to 24h`);
        }
        if (lengthMs % resolutionMs !== 0) {
            throw new Error(`the window "${name}" is no multiple of the resolution, ${resolutionMs} ms`);
        }
        if (list.findIndex((other) => other.lengthMs === lengthMs) !== at) {
            throw new Error(`the window "${name}" is as long as another`);
        }
    });
    return { resolutionMs, list };
}

/** Packs a value as JSON of ASCII characters. */
export function pack(value) {
    const json = JSON.stringify(value, (key, inner) => {
        if (typeof inner === "number" && !Number.isFinite(inner)) {
            throw new Error(`a pane cannot hold ${inner} (in ${key})`);
        }
        return inner;
    });
    const ascii = json.replace(/[\u0080-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
    const bytes = new Uint8Array(ascii.length);
    for (let at = 0; at < ascii.length; at += 1) {
        bytes[at] = ascii.charCodeAt(at);
    }
    return bytes;
}

/** Reads all pieces of a page before any is used. */
export function unpack({ tokens, slots, ends, bytes }) {
    if (slots.length !== tokens.length || ends.length !== tokens.length) {
        throw new Error("the columns of the entries are not equally long");
    }
    let begin = 0;
    return tokens.map((token, at) => {
        let json = "";
        for (let from = begin; from < ends[at]; from += 4_096) {
            json += String.fromCharCode(...bytes.slice(from, Math.min(from + 4_096, ends[at])));
        }
        begin = ends[at];
        const panes = JSON.parse(json);
        if (!Array.isArray(panes) || panes.length === 0 || !panes.every((pane) => Number.isInteger(pane[0]))) {
            throw new Error(`slot ${slots[at]} of token ${token} is no packed slot`);
        }
        return { token, slot: slots[at], panes };
    });
}
