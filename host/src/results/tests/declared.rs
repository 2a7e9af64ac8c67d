//! What a plugin may declare.

use super::{description, schema, settings};
use crate::plugin::contract::Kind;
use crate::results::{Schema, SchemaError};

#[test]
fn a_result_key_that_could_not_end_a_redis_key_is_refused() {
    let long = "a".repeat(33);
    for key in ["", "last_update", "A", "a b", "a:b", "ä", &long] {
        let mut declared = description(&[("a", Kind::Integer)]);
        declared.result_key = key.to_owned();
        let refused = Schema::new(&declared, &settings(&["1min"]));
        assert!(matches!(refused, Err(SchemaError::ResultKey(_))), "{key}");
    }
}

#[test]
fn names_must_be_allowed_and_different() {
    let refused = |groups: &[&str], fields: &[(&str, Kind)]| {
        Schema::new(&description(fields), &settings(groups)).unwrap_err()
    };
    let good = [("a", Kind::Integer)];
    let (bad, twice) = ([("A", Kind::Integer)], [("a", Kind::Integer), ("a", Kind::Float)]);
    assert!(matches!(refused(&["1min"], &bad), SchemaError::FieldName(_)));
    assert!(matches!(refused(&["1min"], &twice), SchemaError::FieldTwice(_)));
    assert!(matches!(refused(&["1min"], &[]), SchemaError::Count { what: "fields", .. }));
    assert!(matches!(refused(&[], &good), SchemaError::Count { what: "groups", .. }));
    assert!(matches!(refused(&["a", "a"], &good), SchemaError::GroupTwice(_)));
    assert!(matches!(refused(&["a\nb"], &good), SchemaError::GroupName(_)));
    assert!(matches!(refused(&[&"a".repeat(65)], &good), SchemaError::GroupName(_)));
}

#[test]
fn a_decimal_has_at_most_38_places() {
    schema(&["1min"], &[("a", Kind::Decimal(38))]);
    let refused = Schema::new(&description(&[("a", Kind::Decimal(39))]), &settings(&["1min"]));
    assert!(matches!(refused, Err(SchemaError::Places { places: 39, .. })));
}

#[test]
fn a_guests_text_in_an_error_is_cut_and_escaped() {
    let group = format!("\u{1b}[31m{}", "x".repeat(10_000));
    let refused = Schema::new(&description(&[("a", Kind::Integer)]), &settings(&[&group]));
    let words = refused.unwrap_err().to_string();
    assert!(words.len() < 300 && !words.contains('\u{1b}'), "{words}");
}
