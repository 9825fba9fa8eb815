//! Two notations that the original knew and markdown does not: code between lines of two dots, and lines that name
//! an image. Both become markdown.
//!
//! Its other rules were for Telegram's own notation: `*x*` and `_x_` are italic and `**x**` is bold in markdown as it
//! is, and a quote becomes a quote and not a label.

/// An answer in markdown, and where its lines come from.
#[derive(Debug, Default)]
pub(super) struct Markdown {
    pub(super) text: String,
    /// Where each line begins, here and in the answer.
    lines: Vec<(usize, usize)>,
}

impl Markdown {
    /// The place in the answer of a place in the markdown, to the line at least.
    pub(super) fn source_of(&self, at: usize) -> usize {
        let behind = self.lines.partition_point(|(line, _)| *line <= at);
        let (line, source) = behind.checked_sub(1).map_or((0, 0), |before| self.lines[before]);
        let found = source + (at - line);
        self.lines.get(behind).map_or(found, |(_, next)| found.min(*next))
    }
}

/// The answer with both notations as markdown; code is left alone.
pub(super) fn as_markdown(answer: &str) -> Markdown {
    let lines: Vec<&str> = answer.split_inclusive('\n').map(|line| line.trim_end_matches(['\n', '\r'])).collect();
    let starts = answer.split_inclusive('\n').scan(0, |at, line| Some(std::mem::replace(at, *at + line.len())));
    let starts: Vec<usize> = starts.collect();
    let mut markdown = Markdown::default();
    let text = &mut markdown.text;
    let mut fence: Option<&str> = None;
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim();
        markdown.lines.push((text.len(), starts[at]));
        match fence {
            Some("..") if trimmed == ".." => {
                fence = None;
                text.push_str("```");
            }
            Some(mark) => {
                if mark != ".." && trimmed.starts_with(mark) && trimmed.trim_start_matches(&mark[..1]).is_empty() {
                    fence = None;
                }
                text.push_str(line);
            }
            None if trimmed == ".." && lines[at + 1..].iter().any(|later| later.trim() == "..") => {
                fence = Some("..");
                text.push_str("```");
            }
            None => {
                fence = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
                match attachment(trimmed) {
                    Some(url) => text.push_str(&format!("\n![](<{url}>)\n")),
                    None => text.push_str(line),
                }
            }
        }
        text.push('\n');
    }
    markdown
}

/// The address in `[Image Attachment: <address>]`.
fn attachment(line: &str) -> Option<&str> {
    let url = line.strip_prefix("[Image Attachment:")?.strip_suffix(']')?.trim();
    let plain = !url.contains(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '\\'));
    (plain && (url.starts_with("https://") || url.starts_with("http://"))).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::as_markdown;

    fn markdown(answer: &str) -> String {
        as_markdown(answer).text
    }

    #[test]
    fn dots_are_fences_when_they_come_in_pairs() {
        assert_eq!(markdown("see\n..\nlet x;\n..\ndone"), "see\n```\nlet x;\n```\ndone\n");
        assert_eq!(markdown("wait..\n..\nfor it"), "wait..\n..\nfor it\n");
    }

    #[test]
    fn an_attachment_line_is_an_image_outside_of_code() {
        let line = "[Image Attachment: https://a.example/x.png]";
        assert_eq!(markdown(line), "\n![](<https://a.example/x.png>)\n\n");
        assert_eq!(markdown(&format!("```\n{line}\n```")), format!("```\n{line}\n```\n"));
        assert_eq!(markdown("[Image Attachment: file:///x]"), "[Image Attachment: file:///x]\n");
    }

    #[test]
    fn lines_are_found_again() {
        let answer = "one\r\n..\ncode\n..\nlast";
        let read = as_markdown(answer);
        assert_eq!(read.text, "one\n```\ncode\n```\nlast\n");
        for word in ["one", "code", "last"] {
            assert_eq!(read.source_of(read.text.find(word).unwrap()), answer.find(word).unwrap(), "{word}");
        }
    }
}
