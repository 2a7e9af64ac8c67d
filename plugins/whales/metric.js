//! Whale alerts and trade sizes over sliding windows: in JavaScript.
//!
//! Each trade falls into a size class by its worth in USD. Those of the highest class are whales: the largest is named
//! with its wallet, and all are counted on /metrics. Counts are exact; sums of USD are floats.

import { float, integer, metric, text } from "../../guest-sdk/javascript/aggregator.js";

/** From how many USD on a trade is of each class; below is dust. */
const SMALL = 10;
const MEDIUM = 100;
const LARGE = 1_000;
const WHALE = 10_000;

export const aggregator = metric({
    name: "whales",
    columns: ["wallet"],
    fields: [
        integer("dust"),
        integer("small"),
        integer("medium"),
        integer("large"),
        integer("whales"),
        float("whale_usd"),
        float("whale_share"),
        float("largest_usd"),
        text("largest_wallet"),
        text("largest_side"),
    ],
    counters: {
        buys: "Trades of at least 10,000 USD that bought.",
        sells: "Trades of at least 10,000 USD that sold.",
    },

    empty: () => ({
        dust: 0,
        small: 0,
        medium: 0,
        large: 0,
        whales: 0,
        usd: 0,
        whaleUsd: 0,
        largestUsd: 0,
        wallet: "",
        side: "",
    }),

    add(pane, trade, count) {
        const usd = trade.price * trade.amount;
        pane.usd += usd;
        if (usd >= WHALE) {
            pane.whales += 1;
            pane.whaleUsd += usd;
            count(trade.side === "buy" ? "buys" : "sells");
        } else if (usd >= LARGE) {
            pane.large += 1;
        } else if (usd >= MEDIUM) {
            pane.medium += 1;
        } else if (usd >= SMALL) {
            pane.small += 1;
        } else {
            pane.dust += 1;
        }
        if (usd > pane.largestUsd) {
            pane.largestUsd = usd;
            pane.wallet = trade.wallet;
            pane.side = trade.side;
        }
    },

    merge(pane, later) {
        pane.dust += later.dust;
        pane.small += later.small;
        pane.medium += later.medium;
        pane.large += later.large;
        pane.whales += later.whales;
        pane.usd += later.usd;
        pane.whaleUsd += later.whaleUsd;
        if (later.largestUsd > pane.largestUsd) {
            pane.largestUsd = later.largestUsd;
            pane.wallet = later.wallet;
            pane.side = later.side;
        }
    },

    write: (pane) => ({
        dust: pane.dust,
        small: pane.small,
        medium: pane.medium,
        large: pane.large,
        whales: pane.whales,
        whale_usd: pane.whaleUsd,
        whale_share: pane.usd > 0 ? pane.whaleUsd / pane.usd : 0,
        largest_usd: pane.largestUsd,
        largest_wallet: pane.wallet,
        largest_side: pane.side,
    }),
});
