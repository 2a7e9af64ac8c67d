//! Declared fields, and the rows in which a metric writes their values.
//!
//! Not for turning values into text; the host does that. The invariant: every column holds `rows x
//! groups` values whatever a metric writes or leaves out, since a new row begins as zeros.

use crate::contract::{Column, Field, Kind, TextColumn};
use crate::trade::push_text;

/// A declared value of a result.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    name: &'static str,
    kind: Kind,
}

/// Declares a 64-bit integer.
#[must_use]
pub const fn integer(name: &'static str) -> Declared {
    let kind = Kind::Integer;
    Declared { name, kind }
}

/// Declares an exact decimal, counted in units of 10^-`scale`.
#[must_use]
pub const fn decimal(name: &'static str, scale: u32) -> Declared {
    let kind = Kind::Decimal(scale);
    Declared { name, kind }
}

/// Declares a float; what is not finite is written as 0.
#[must_use]
pub const fn float(name: &'static str) -> Declared {
    let kind = Kind::Float;
    Declared { name, kind }
}

/// Declares a text.
#[must_use]
pub const fn text(name: &'static str) -> Declared {
    let kind = Kind::Text;
    Declared { name, kind }
}

/// Declares the clock of the flush, which the host writes by itself.
#[must_use]
pub const fn clock(name: &'static str) -> Declared {
    let kind = Kind::Clock;
    Declared { name, kind }
}

/// Gives the contract's form of declared fields, for a raw plugin's description.
#[must_use]
pub fn described(fields: &[Declared]) -> Vec<Field> {
    let field = |declared: &Declared| Field { name: declared.name.to_owned(), kind: declared.kind };
    fields.iter().map(field).collect()
}

/// The values of one column while a table is built.
enum Cells {
    Integers(Vec<i64>),
    Decimals(Vec<u64>),
    Floats(Vec<f64>),
    Texts(Vec<String>),
}

/// A table's columns while it is built; the pane level does that by itself.
///
/// ```
/// use aggregator_sdk::field::{Declared, Rows, integer};
///
/// const FIELDS: &[Declared] = &[integer("trades")];
/// let mut rows = Rows::new(FIELDS, 2);
/// rows.begin_row();
/// rows.group(1).integer(3);
/// assert_eq!(rows.finish().len(), 1);
/// ```
pub struct Rows {
    columns: Vec<Cells>,
    groups: usize,
    rows: usize,
}

impl Rows {
    /// Prepares the columns of these fields, with so many groups in each row.
    #[must_use]
    pub fn new(fields: &[Declared], groups: usize) -> Self {
        let columns = fields.iter().filter_map(|field| match field.kind {
            Kind::Integer => Some(Cells::Integers(Vec::new())),
            Kind::Decimal(_) => Some(Cells::Decimals(Vec::new())),
            Kind::Float => Some(Cells::Floats(Vec::new())),
            Kind::Text => Some(Cells::Texts(Vec::new())),
            Kind::Clock => None,
        });
        Self { columns: columns.collect(), groups, rows: 0 }
    }

    /// Begins a row of zeros.
    pub fn begin_row(&mut self) {
        self.rows += 1;
        let cells = self.rows * self.groups;
        for column in &mut self.columns {
            match column {
                Cells::Integers(values) => values.resize(cells, 0),
                Cells::Decimals(values) => values.resize(cells * 2, 0),
                Cells::Floats(values) => values.resize(cells, 0.0),
                Cells::Texts(values) => values.resize(cells, String::new()),
            }
        }
    }

    /// Gives the place of one group's values in the row begun last.
    pub fn group(&mut self, group: usize) -> Row<'_> {
        debug_assert!(group < self.groups && self.rows > 0);
        Row { columns: self.columns.iter_mut(), cell: (self.rows - 1) * self.groups + group }
    }

    /// Gives the finished columns.
    #[must_use]
    pub fn finish(self) -> Vec<Column> {
        let column = |cells| match cells {
            Cells::Integers(values) => Column::Integers(values),
            Cells::Decimals(values) => Column::Decimals(values),
            Cells::Floats(values) => Column::Floats(values),
            Cells::Texts(values) => {
                let mut column = TextColumn::default();
                values.iter().for_each(|text| push_text(&mut column, text));
                Column::Texts(column)
            }
        };
        self.columns.into_iter().map(column).collect()
    }
}

/// Where a metric writes the values of one group, in the order of its declared fields.
///
/// Fields of the kind clock are not written. What is left out stays 0 or empty.
pub struct Row<'a> {
    columns: std::slice::IterMut<'a, Cells>,
    cell: usize,
}

impl Row<'_> {
    /// Writes the next field, an integer.
    ///
    /// # Panics
    /// Where the next field is not declared as an integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        match self.columns.next() {
            Some(Cells::Integers(values)) => values[self.cell] = value,
            _ => mismatch("an integer"),
        }
    }

    /// Writes the next field, a decimal in units of its declared scale.
    ///
    /// # Panics
    /// Where the next field is not declared as a decimal.
    #[inline]
    pub fn decimal(&mut self, value: i128) {
        match self.columns.next() {
            Some(Cells::Decimals(values)) => {
                let words = &mut values[self.cell * 2..][..2];
                words[0] = value as u64;
                words[1] = (value >> 64) as u64;
            }
            _ => mismatch("a decimal"),
        }
    }

    /// Writes the next field, a float; a negative zero becomes zero.
    ///
    /// # Panics
    /// Where the next field is not declared as a float.
    #[inline]
    pub fn float(&mut self, value: f64) {
        match self.columns.next() {
            // Adding zero turns the negative zero into the positive one and nothing else.
            Some(Cells::Floats(values)) => values[self.cell] = value + 0.0,
            _ => mismatch("a float"),
        }
    }

    /// Writes the next field, a text.
    ///
    /// # Panics
    /// Where the next field is not declared as a text.
    pub fn text(&mut self, value: &str) {
        match self.columns.next() {
            Some(Cells::Texts(values)) => value.clone_into(&mut values[self.cell]),
            _ => mismatch("a text"),
        }
    }
}

#[cold]
fn mismatch(written: &str) -> ! {
    panic!("the metric writes {written} where its FIELDS declare something else")
}

#[cfg(test)]
mod tests {
    use super::{Rows, clock, decimal, float, integer, text};
    use crate::contract::Column;

    #[test]
    fn groups_stand_one_behind_the_other_within_a_row() {
        let fields = [integer("n"), clock("at"), decimal("d", 9), float("f"), text("t")];
        let mut rows = Rows::new(&fields, 2);
        rows.begin_row();
        // Out of order: a settle walks windows by length, not as configured.
        for group in [1, 0] {
            let mut row = rows.group(group);
            row.integer(group as i64);
            row.decimal(-1 - group as i128);
            row.float(-0.0);
            row.text("x");
        }
        rows.begin_row();
        let columns = rows.finish();
        assert!(matches!(&columns[0], Column::Integers(v) if v[..] == [0, 1, 0, 0]));
        let all = u64::MAX;
        assert!(matches!(&columns[1], Column::Decimals(v) if v[..] == [all, all, all - 1, all, 0, 0, 0, 0]));
        assert!(matches!(&columns[2], Column::Floats(v) if v.iter().all(|f| f.to_bits() == 0)));
        assert!(matches!(&columns[3], Column::Texts(v) if v.bytes == b"xx" && v.ends == [1, 2, 2, 2]));
    }

    #[test]
    #[should_panic(expected = "writes an integer where")]
    fn a_value_of_another_kind_is_a_mistake_of_the_author() {
        let mut rows = Rows::new(&[float("f")], 1);
        rows.begin_row();
        rows.group(0).integer(1);
    }
}
