//! The eight fields of a trade: their names on the wire and their order.
//!
//! Invariant: the order of the variants is the order in which fields are judged, so it decides the reason of a
//! rejection.

/// A field of a trade, in the order of judging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Column {
    /// The token's address.
    Token,
    /// The trader's address.
    Wallet,
    /// `buy` or `sell`.
    Side,
    /// The amount of the chain's coin.
    Native,
    /// The amount of the token.
    Amount,
    /// The price of one token in USD.
    Price,
    /// The event time.
    Time,
    /// The transaction's hash.
    TxHash,
}

impl Column {
    /// How many there are.
    pub(super) const COUNT: usize = 8;

    /// All columns in the order of judging.
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Token,
        Self::Wallet,
        Self::Side,
        Self::Native,
        Self::Amount,
        Self::Price,
        Self::Time,
        Self::TxHash,
    ];

    /// Returns the key as producers write it.
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Token => "Token",
            Self::Wallet => "Wallet",
            Self::Side => "SellBuy",
            Self::Native => "NativeAmount",
            Self::Amount => "TokenAmount",
            Self::Price => "PriceUsd",
            Self::Time => "TransTime",
            Self::TxHash => "TxHash",
        }
    }

    /// Finds the column a key names, whatever its case and with or without underscores.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|column| is_spelling_of(key, column.wire_name().as_bytes()))
    }
}

fn is_spelling_of(key: &[u8], name: &[u8]) -> bool {
    let mut letters = key.iter().filter(|&&byte| byte != b'_');
    // Every step but the last consumes a byte of the name, so a hostile key costs its underscores at most.
    name.iter().all(|wanted| letters.next().is_some_and(|letter| letter.eq_ignore_ascii_case(wanted)))
        && letters.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::Column;

    #[test]
    fn keys_match_whatever_their_case_and_underscores() {
        for (key, column) in [
            ("Token", Some(Column::Token)),
            ("TOKEN", Some(Column::Token)),
            ("sell_buy", Some(Column::Side)),
            ("__Native__amount_", Some(Column::Native)),
            ("txHASH", Some(Column::TxHash)),
            ("TxHash2", None),
            ("Toke", None),
            ("", None),
            ("Token ", None),
            ("tra-nstime", None),
        ] {
            assert_eq!(Column::of_key(key.as_bytes()), column, "{key}");
        }
    }
}
