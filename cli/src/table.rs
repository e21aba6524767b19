//! Columns of text.

/// Lines of cells under a heading, each column as wide as its widest cell.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

/// What stands in a column.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    /// How wide it is on the terminal: colours have no width.
    width: usize,
}

impl Table {
    /// A table with a heading; without one it is [`Table::default`].
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        let mut table = Self::default();
        table.row(heading.map(Cell::plain));
        table
    }

    /// Adds a line.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// The lines, cells two spaces apart.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<Cell>| {
            let padded = |(cell, width): (&Cell, &usize)| format!("{}{}", cell.text, " ".repeat(width - cell.width));
            row.iter().zip(&widths).map(padded).collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Cell {
    /// `text` as it is.
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { width: text.chars().count(), text }
    }

    /// `painted` is `text` with colours.
    pub fn painted(text: &str, painted: String) -> Self {
        Self { width: text.chars().count(), text: painted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(["ID", "STATUS", ""]);
        table.row([Cell::plain("é1"), Cell::painted("ok", "\u{1b}[32mok\u{1b}[0m".into()), Cell::plain("x")]);
        table.row([Cell::plain("long-id"), Cell::plain("failed"), Cell::plain("")]);
        assert_eq!(table.render(), "ID       STATUS\né1       \u{1b}[32mok\u{1b}[0m      x\nlong-id  failed");
    }
}
