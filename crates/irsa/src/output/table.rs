//! Tables as kubectl prints them: no borders, blanks between columns, byte-stable when piped. Where the reader's
//! terminal is too narrow, cells are broken between words; where even that does not fit, each row becomes a block.

use std::io::{self, Write};

use irsa_core::text::Foreign;
use owo_colors::{OwoColorize as _, Style};
use unicode_width::UnicodeWidthStr;

use super::words::wrapped;

/// Blanks between columns, and when space is scarce.
const GUTTER: usize = 3;
const NARROW_GUTTER: usize = 2;

/// One cell. Its text is safe for a terminal, whatever it was made from.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// What it shows.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The same cell in a colour.
    pub(crate) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: match text.as_ref() {
                "" => "<none>".to_owned(),
                text => Foreign(text).to_string(),
            },
            style: Style::new(),
        }
    }
}

/// Rows of cells below a line of headings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<Cell>>,
    bare: bool,
}

enum Layout {
    Columns { widths: Vec<usize>, gutter: usize },
    Blocks,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            headings: headings
                .iter()
                .map(|heading| Foreign(heading).to_string())
                .collect(),
            rows: Vec::new(),
            bare: false,
        }
    }

    /// The same without the line of headings.
    pub(crate) fn without_headings(self, bare: bool) -> Self {
        Self { bare, ..self }
    }

    /// Adds a row. An empty cell is shown as kubectl shows it: `<none>`.
    pub(crate) fn row<I, C>(&mut self, cells: I)
    where
        I: IntoIterator<Item = C>,
        C: Into<Cell>,
    {
        let mut cells: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        cells.resize_with(self.headings.len(), || Cell::from(""));
        self.rows.push(cells);
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes headings and rows, in lines of at most `columns` where that is possible without breaking words.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn write(&self, to: &mut impl Write, columns: Option<usize>) -> io::Result<()> {
        match self.layout(columns) {
            Layout::Columns { widths, gutter } => {
                if !self.bare {
                    let headings: Vec<Cell> = self
                        .headings
                        .iter()
                        .map(|heading| Cell {
                            text: heading.clone(),
                            style: Style::new(),
                        })
                        .collect();
                    write_row(to, &widths, gutter, &headings)?;
                }
                for row in &self.rows {
                    write_row(to, &widths, gutter, row)?;
                }
                Ok(())
            }
            Layout::Blocks => self.write_blocks(to, columns),
        }
    }

    fn layout(&self, columns: Option<usize>) -> Layout {
        let widest = |measure: fn(&str) -> usize| -> Vec<usize> {
            self.headings
                .iter()
                .enumerate()
                .map(|(index, heading)| {
                    let cells = self.rows.iter().map(|row| measure(&row[index].text)).max();
                    let heading = if self.bare { 0 } else { heading.width() };
                    cells.unwrap_or(0).max(heading)
                })
                .collect()
        };
        let natural = widest(UnicodeWidthStr::width);
        let gaps = self.headings.len().saturating_sub(1);
        let sum = |widths: &[usize]| widths.iter().sum::<usize>();
        let Some(columns) = columns.filter(|columns| sum(&natural) + gaps * GUTTER > *columns) else {
            return Layout::Columns {
                widths: natural,
                gutter: GUTTER,
            };
        };
        let mut widths = widest(longest_word);
        let gutter = NARROW_GUTTER;
        let Some(mut spare) = columns.checked_sub(sum(&widths) + gaps * gutter) else {
            return Layout::Blocks;
        };
        // Those that need least are served first: most columns keep their cells whole.
        let mut order: Vec<usize> = (0..widths.len()).collect();
        order.sort_by_key(|index| natural[*index] - widths[*index]);
        for index in order {
            let more = (natural[index] - widths[index]).min(spare);
            widths[index] += more;
            spare -= more;
        }
        // Broken cells may need less than they were given.
        for (index, width) in widths.iter_mut().enumerate() {
            let cells = self
                .rows
                .iter()
                .flat_map(|row| wrapped(&row[index].text, Some(*width)));
            let used = cells.map(|line| line.width()).max().unwrap_or(0);
            *width = used.max(self.headings[index].width());
        }
        Layout::Columns { widths, gutter }
    }

    /// Each row as its first cell, and the others below it with their headings.
    fn write_blocks(&self, to: &mut impl Write, columns: Option<usize>) -> io::Result<()> {
        let label = self.headings.iter().map(|heading| heading.width()).max();
        let label = label.unwrap_or(0) + NARROW_GUTTER;
        let width = columns.map(|columns| columns.saturating_sub(2 + label));
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(to)?;
            }
            let mut cells = self.headings.iter().zip(row);
            if let Some((_, title)) = cells.next() {
                writeln!(to, "{}", title.text.style(title.style))?;
            }
            for (heading, cell) in cells {
                for (line, text) in wrapped(&cell.text, width).iter().enumerate() {
                    let heading = if line == 0 { heading.as_str() } else { "" };
                    writeln!(to, "  {heading:<label$}{}", text.style(cell.style))?;
                }
            }
        }
        Ok(())
    }
}

fn longest_word(text: &str) -> usize {
    wrapped(text, Some(1))
        .iter()
        .map(|word| word.width())
        .max()
        .unwrap_or(0)
}

/// One row, in as many lines as its most broken cell.
fn write_row(to: &mut impl Write, widths: &[usize], gutter: usize, row: &[Cell]) -> io::Result<()> {
    let cells: Vec<Vec<String>> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| wrapped(&cell.text, (cell.text.width() > *width).then_some(*width)))
        .collect();
    let lines = cells.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..lines {
        // Blanks are written only before something, so that no line ends with them.
        let mut owed = 0;
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let text = cell.get(line).map_or("", String::as_str);
            if !text.is_empty() {
                write!(to, "{:owed$}{}", "", text.style(row[index].style))?;
                owed = 0;
            }
            owed += width.saturating_sub(text.width()) + gutter;
        }
        writeln!(to)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(table: &Table, columns: Option<usize>) -> String {
        let mut text = Vec::new();
        table.write(&mut text, columns).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn example() -> Table {
        let mut table = Table::new(&["NAME", "CHOSEN", "HOST"]);
        table.row([
            "aws-node",
            "regional (service account)",
            "sts.us-west-2.amazonaws.com",
        ]);
        table.row(["x", "", "-"]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_the_last_is_not_padded() {
        let mut table = Table::new(&["NAME", "TYPE"]);
        table.row(["aws-node", "regional"]);
        table.row(["x", ""]);
        assert_eq!(
            shown(&table, None),
            "NAME       TYPE\naws-node   regional\nx          <none>\n"
        );
        assert_eq!(
            shown(&table.without_headings(true), None),
            "aws-node   regional\nx          <none>\n"
        );
    }

    #[test]
    fn a_table_that_is_too_wide_breaks_cells_between_words() {
        assert_eq!(
            shown(&example(), Some(60)),
            "NAME      CHOSEN             HOST\n\
             aws-node  regional (service  sts.us-west-2.amazonaws.com\n\
             \x20         account)\n\
             x         <none>             -\n"
        );
    }

    #[test]
    fn a_table_that_cannot_be_narrowed_becomes_blocks() {
        assert_eq!(
            shown(&example(), Some(40)),
            "aws-node\n  CHOSEN  regional (service account)\n  HOST    sts.us-west-2.amazonaws.com\n\nx\n  CHOSEN  <none>\n  \
             HOST    -\n"
        );
    }

    #[test]
    fn foreign_text_and_colours_do_not_move_columns() {
        let mut table = Table::new(&["A", "B"]);
        table.row([
            Cell::from("x\u{1b}[2J\n").styled(Style::new().red()),
            Cell::from("y"),
        ]);
        table.row(["long enough cell", "z"]);
        let text = shown(&table, None);
        assert!(text.contains(r"x\u{1b}[2J\n"), "{text}");
        let bare: Vec<String> = text
            .lines()
            .map(|line| line.replace("\u{1b}[31m", "").replace("\u{1b}[0m", ""))
            .collect();
        assert_eq!(bare[1].find('y'), bare[2].find('z'), "{text}");
    }
}
