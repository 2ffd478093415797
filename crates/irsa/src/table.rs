//! Tables as kubectl prints them: no borders, three spaces between columns, byte-stable when piped.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

const GUTTER: usize = 3;

/// Rows of cells below a line of headings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells stay empty. An empty cell is shown as kubectl shows it: `<none>`.
    pub(crate) fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes headings and rows.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let columns = self.headings.len();
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(visible(cell).width());
            }
        }
        write_line(to, &widths, columns, self.headings.iter().copied())?;
        for row in &self.rows {
            write_line(to, &widths, columns, row.iter().map(|cell| visible(cell)))?;
        }
        Ok(())
    }
}

fn visible(cell: &str) -> &str {
    if cell.is_empty() { "<none>" } else { cell }
}

fn write_line<'a>(
    to: &mut impl Write,
    widths: &[usize],
    columns: usize,
    cells: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    for (index, (cell, width)) in cells.zip(widths).enumerate() {
        write!(to, "{cell}")?;
        if index + 1 < columns {
            let padding = width.saturating_sub(cell.width()) + GUTTER;
            write!(to, "{:padding$}", "")?;
        }
    }
    writeln!(to)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_the_last_is_not_padded() {
        let mut table = Table::new(&["NAME", "TYPE"]);
        table.row(["aws-node", "regional"]);
        table.row(["x", ""]);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "NAME       TYPE\naws-node   regional\nx          <none>\n"
        );
    }
}
