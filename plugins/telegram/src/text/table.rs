//! Tables: Telegram has none, so they become columns of text in a block of code.

use pulldown_cmark::Alignment;
use unicode_width::UnicodeWidthStr;

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) alignments: Vec<Alignment>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn begin_row(&mut self) {
        self.rows.push(Vec::new());
    }

    pub(super) fn begin_cell(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.push(String::new());
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            cell.push_str(text);
        }
    }

    /// The first row is the head.
    pub(super) fn written(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        let mut lines: Vec<String> = self.rows.iter().map(|row| self.line(row, &widths)).collect();
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("-+-");
        lines.insert(lines.len().min(1), rule);
        lines.join("\n")
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = widths.iter().enumerate().map(|(column, width)| {
            let text = row.get(column).map_or("", String::as_str);
            let space = width - text.width().min(*width);
            let left = match self.alignments.get(column) {
                Some(Alignment::Right) => space,
                Some(Alignment::Center) => space / 2,
                _ => 0,
            };
            format!("{}{text}{}", " ".repeat(left), " ".repeat(space - left))
        });
        cells.collect::<Vec<_>>().join(" | ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_under_wide_letters() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = vec![row(["what", "how many"]), row(["りんご", "7"]), row(["figs", "12"])];
        let table = Table { alignments: vec![Alignment::None, Alignment::Right], rows };
        assert_eq!(table.written(), "what   | how many\n-------+---------\nりんご |        7\nfigs   |       12");
    }
}
