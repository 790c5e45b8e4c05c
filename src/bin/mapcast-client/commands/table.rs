//! Text in columns.

use unicode_width::UnicodeWidthStr;

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Returns the rows as lines, with two spaces between columns that are as wide as their widest cell.
pub(super) fn table(columns: &[Align], rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, align), width) in row.iter().zip(columns).zip(&widths) {
            let space = " ".repeat(width - cell.width());
            line.extend(match align {
                Align::Left => [cell.as_str(), space.as_str(), "  "],
                Align::Right => [space.as_str(), cell.as_str(), "  "],
            });
        }
        text.extend([line.trim_end(), "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["ID", "PEER"], ["7", "日本"], ["100", "a"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&[Align::Right, Align::Left], &rows), " ID  PEER\n  7  日本\n100  a\n");
        assert_eq!(table(&[], &[]), "");
    }
}
