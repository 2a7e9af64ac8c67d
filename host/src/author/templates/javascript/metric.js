//! {{name}}: what the trades of each token come to, over sliding windows.
//!
//! An empty window gives what `write` makes of `empty()`.

import { float, integer, metric } from "./sdk/aggregator.js";

export const aggregator = metric({
    name: "{{name}}",
    fields: [integer("trades"), float("largest_usd")],

    /** A stretch of time without a trade. */
    empty: () => ({ trades: 0, largestUsd: 0 }),

    /** Adds a trade. Trades of one stretch come in any order of time. */
    add(pane, trade) {
        const usd = trade.price * trade.amount;
        pane.trades += usd >= 1_000 ? 1 : 0;
        pane.largestUsd = Math.max(pane.largestUsd, usd);
    },

    /** Adds what a later stretch of time holds. */
    merge(pane, later) {
        pane.trades += later.trades;
        pane.largestUsd = Math.max(pane.largestUsd, later.largestUsd);
    },

    /** Gives the values of one window. */
    write: (pane) => ({ trades: pane.trades, largest_usd: pane.largestUsd }),
});
