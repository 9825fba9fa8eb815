//! What people see of an answer, as Telegram's own reader of HTML has it.

use broca_rehearsal::telegram::html::{MAX_ENTITIES, parse};
use proptest::prelude::*;
use unicode_segmentation::UnicodeSegmentation;

use super::{Body, Part, Room, TextPart, parts, split::units};

const SMALL: Room = Room { units: 40, entities: 6, html_bytes: 400 };

fn texts(answer: &str, room: Room) -> Vec<TextPart> {
    let text = |part: Part| match part.body {
        Body::Text(text) => text,
        Body::Photo { instead, .. } => instead,
    };
    parts(answer, room, true).into_iter().map(text).collect()
}

/// The only part, in HTML.
fn html(answer: &str) -> String {
    let mut all = texts(answer, Room::default());
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).html
}

fn visible(parts: &[TextPart]) -> Vec<String> {
    parts.iter().map(|part| parse(&part.html).unwrap_or_else(|why| panic!("{why}: {part:?}")).text).collect()
}

#[test]
fn marks_become_tags_and_everything_else_is_escaped() {
    let words = "**bold** *it* _it_ ~~gone~~ `a<b` 1 < 2 & \"x\"";
    let expected = "<b>bold</b> <i>it</i> <i>it</i> <s>gone</s> <code>a&lt;b</code> 1 &lt; 2 &amp; &quot;x&quot;";
    assert_eq!(html(words), expected);
    assert_eq!(html("***both*** snake_case_name 2*3*4"), "<b><i>both</i></b> snake_case_name 2<i>3</i>4");
    assert_eq!(html("<script>alert(1)</script>"), "&lt;script&gt;alert(1)&lt;/script&gt;");
    assert_eq!(html("# Title\ntext\n\n---\nend"), "<b>Title</b>\n\ntext\n\n———\n\nend");
    assert_eq!(html("> said *he*\n> twice\n\nand"), "<blockquote>said <i>he</i>\ntwice</blockquote>\n\nand");
}

#[test]
fn lists_nest_and_count() {
    let nested = "Do:\n\n1. one\n   - inner `x`\n   - inner\n2. two\n\n   more\n\n- [x] done\n- [ ] open";
    let expected = "Do:\n\n1. one\n   • inner <code>x</code>\n   • inner\n2. two\n   more\n\n• ☑ done\n• ☐ open";
    assert_eq!(html(nested), expected);
}

#[test]
fn code_keeps_its_shape_and_its_language() {
    let code = "```rust title=x\nfn f<T>() {\n    1\n}\n```";
    assert_eq!(html(code), "<pre><code class=\"language-rust\">fn f&lt;T&gt;() {\n    1\n}</code></pre>");
    assert_eq!(html("a\n```\nx\n```\nb"), "a\n\n<pre>x</pre>\n\nb");
    assert_eq!(html("- first\n  ```\n  x\n  ```\n- second"), "• first\n<pre>x</pre>\n• second");
    assert_eq!(html("..\nold way\n.."), "<pre>old way</pre>");
    assert_eq!(html("```a\"><b>\nx\n```"), "<pre><code class=\"language-ab\">x</code></pre>");
}

#[test]
fn links_are_links_where_telegram_has_them_and_written_out_where_not() {
    assert_eq!(
        html("[a *b*](https://x.example/?a=1&b=\"2\")"),
        "<a href=\"https://x.example/?a=1&amp;b=&quot;2&quot;\">a <i>b</i></a>"
    );
    assert_eq!(html("[here](javascript:alert) [there](./x)"), "here (javascript:alert) there (./x)");
    assert_eq!(html("<me@a.example>"), "me@a.example");
    assert_eq!(html("[](https://x.example)"), "<a href=\"https://x.example\">https://x.example</a>");
    let long = format!("[a](https://x.example/{})", "y".repeat(2_100));
    assert!(!html(&long).contains("<a") && html(&long).contains("yyy"));
}

#[test]
fn tables_become_columns() {
    let table = "|what|how many|\n|---|--:|\n|**figs**|12|\n|[nuts](https://n.example)|7|\n\nend";
    let columns = "what                     | how many\n-------------------------+---------\nfigs                     |       12\nnuts (https://n.example) |        7";
    assert_eq!(html(table), format!("<pre>{columns}</pre>\n\nend"));
}

#[test]
fn pictures_are_messages_of_their_own() {
    let picture = |answer: &str, photos| {
        let show = |part: Part| match part.body {
            Body::Text(text) => text.plain,
            Body::Photo { url, caption, instead } => format!("{url}|{caption}|{}", instead.html),
        };
        parts(answer, Room::default(), photos).into_iter().map(show).collect::<Vec<_>>()
    };
    let link = |label: &str| format!("<a href=\"https://a.example/c.png\">{label}</a>");
    let alone = "before\n\n![a chart](https://a.example/c.png)\n\nafter";
    let sent = format!("https://a.example/c.png|a chart|{}", link("a chart"));
    assert_eq!(picture(alone, true), ["before", sent.as_str(), "after"]);
    assert_eq!(picture(alone, false), ["before\n\na chart (https://a.example/c.png)\n\nafter"]);
    let within = "see ![a chart](https://a.example/c.png) here";
    assert_eq!(picture(within, true), ["see a chart here", sent.as_str()]);
    let bare = format!("https://a.example/c.png||{}", link("https://a.example/c.png"));
    assert_eq!(picture("[Image Attachment: https://a.example/c.png]", true), [bare]);
    assert_eq!(picture("![x](file:///etc/passwd)", true), ["x (file:///etc/passwd)"]);
    assert_eq!(picture(&"![x](https://a.example/1)\n\n".repeat(12), true).len(), 11, "ten pictures, and one text");
}

#[test]
fn what_is_invisible_is_sent_as_it_is() {
    assert_eq!(html("[x]: https://a.example"), "[x]: https://a.example");
    assert!(parts(" \n ", Room::default(), true).is_empty());
}

#[test]
fn cuts_are_made_where_they_hurt_least() {
    let blocks = texts("one two three\n\nfour five six\n\nseven eight nine ten", SMALL);
    assert_eq!(visible(&blocks), ["one two three\n\nfour five six", "seven eight nine ten"]);
    let lines = texts("- one two three\n- four five six\n- seven eight nine", SMALL);
    assert_eq!(visible(&lines), ["• one two three\n• four five six", "• seven eight nine"]);
    let words = texts("one two three four five six seven eight nine ten", SMALL);
    assert_eq!(visible(&words), ["one two three four five six seven eight", "nine ten"]);
    let bold = texts(&format!("**{}**", "word ".repeat(12).trim()), SMALL);
    assert_eq!(bold[0].html, format!("<b>{}</b>", "word ".repeat(8).trim()));
    assert_eq!(bold[1].html, format!("<b>{}</b>", "word ".repeat(4).trim()));
    let emoji = texts(&"👩‍👩‍👧‍👦".repeat(5), SMALL);
    assert_eq!(visible(&emoji), ["👩‍👩‍👧‍👦".repeat(3), "👩‍👩‍👧‍👦".repeat(2)], "11 units each");
}

#[test]
fn a_block_of_code_is_cut_only_when_it_must_be() {
    let fits = texts("a few words in front\n\n```py\nx = 1\ny = 2\nz = 3\nw = 4\n```", SMALL);
    assert_eq!(visible(&fits), ["a few words in front", "x = 1\ny = 2\nz = 3\nw = 4"]);
    let code: Vec<String> = (10..20).map(|n| format!("    x = {n}")).collect();
    let too_long = texts(&format!("see\n```py\n{}\n```", code.join("\n")), SMALL);
    assert_eq!(
        too_long.iter().filter(|part| part.html.contains("<code class=\"language-py\">")).count(),
        too_long.len()
    );
    let whole = visible(&too_long).join("\n");
    assert_eq!(whole, format!("see\n\n{}", code.join("\n")), "cut at lines, with their indentation");
}

#[test]
fn links_beyond_what_the_server_keeps_go_into_the_next_message() {
    let many: String = (0..250).map(|n| format!("[l{n}](https://a.example/{n}) ")).collect();
    let all = texts(&many, Room::default());
    assert_eq!(all.len(), 3);
    let links = all.iter().map(|part| parse(&part.html).unwrap().entities.len());
    assert_eq!(links.collect::<Vec<_>>(), [100, 100, 50]);
}

#[test]
fn a_later_attempt_finds_its_place() {
    let answer = "# One\n\nsome **words** here\n\n..\ncode\n..\n\n![p](https://a.example/1)\n\n| a |\n|---|\n| b |\n\nlast words";
    let all = parts(answer, SMALL, true);
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.windows(2).all(|pair| pair[0].end < pair[1].end));
    assert_eq!(all.last().unwrap().end, answer.len());
    let photo = all.iter().position(|part| matches!(part.body, Body::Photo { .. })).unwrap();
    assert_eq!(all[photo].end, answer.find("/1)").unwrap() + 3);
    let before = all[photo - 1].end;
    assert!((answer.find("code").unwrap()..=answer.find("![p]").unwrap()).contains(&before), "{before}");
}

/// Markdown with more marks in it than people write.
fn markdown() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,12}",
        "[a-z ]{1,20}",
        "[*_`~\\[\\]()<>&\"!#>|\\\\-]{1,6}",
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("\n```rust\n".to_owned()),
        Just("\n```\n".to_owned()),
        Just("\n..\n".to_owned()),
        Just("\n- ".to_owned()),
        Just("\n  1. ".to_owned()),
        Just("\n> ".to_owned()),
        Just("\n| a | b |\n|---|:-:|\n| c | d |\n".to_owned()),
        Just("[l](https://a.example/?x=1&y=2)".to_owned()),
        Just("![p](https://a.example/p.png)".to_owned()),
        Just("[r](./here)".to_owned()),
        Just("👩‍👩‍👧‍👦e\u{301}🇩🇪".to_owned()),
        Just("**bold *both* ~~x~~**".to_owned()),
        Just("<b>&lt;x</b><br>".to_owned()),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn solid(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn within(part: &TextPart, room: Room) {
    let marked = parse(&part.html).unwrap_or_else(|why| panic!("{why}: {part:?}"));
    assert!(units(&marked.text) <= room.units, "{part:?}");
    assert!(marked.entities.len() <= room.entities.min(MAX_ENTITIES), "{part:?}");
    assert!(part.html.len() <= room.html_bytes && units(&part.plain) <= room.units, "{part:?}");
    assert!(!marked.text.trim().is_empty(), "{part:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_part_fits_and_is_understood_and_nothing_is_lost(answer in markdown()) {
        let whole = texts(&answer, Room { units: usize::MAX, entities: usize::MAX, html_bytes: usize::MAX });
        let room = Room { html_bytes: 600, ..SMALL };
        let cut = texts(&answer, room);
        for part in &cut {
            within(part, room);
        }
        prop_assert_eq!(solid(&visible(&whole).concat()), solid(&visible(&cut).concat()));
        prop_assert_eq!(whole.is_empty(), answer.trim().is_empty());
    }

    #[test]
    fn ends_rise_to_the_end_of_the_answer(answer in markdown()) {
        let all = parts(&answer, SMALL, true);
        prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].end), "{:?}", all);
        if let Some(last) = all.last() {
            prop_assert_eq!(last.end, answer.len());
        }
    }

    #[test]
    fn plain_text_is_cut_between_letters(text in "([a-z 🦀]|e\u{301}|👍🏽|🇩🇪|👩‍👩‍👧‍👦){0,200}") {
        let letters: Vec<&str> = text.graphemes(true).filter(|letter| !letter.trim().is_empty()).collect();
        let cut = visible(&texts(&text, SMALL));
        let again: Vec<&str> = cut.iter().flat_map(|part| part.graphemes(true)).filter(|l| !l.trim().is_empty()).collect();
        prop_assert_eq!(letters, again);
    }

    #[test]
    fn anything_at_all_is_understood(answer in any::<String>()) {
        for part in texts(&answer, Room::default()) {
            within(&part, Room::default());
        }
    }
}

#[test]
fn a_huge_answer_is_cut_quickly() {
    let huge = "word `code` [l](https://a.example/) <&>\n".repeat(1_600);
    let all = texts(&huge, Room::default());
    assert!(all.len() > 10);
    for part in &all {
        within(part, Room::default());
    }
    let marks = "e".to_owned() + &"\u{301}".repeat(20_000);
    for part in texts(&marks, Room::default()) {
        within(&part, Room::default());
    }
    for nested in ["> ".repeat(5_000), "- ".repeat(5_000), "*a ".repeat(5_000), "[".repeat(20_000), "![".repeat(5_000)]
    {
        for part in texts(&nested, Room::default()) {
            within(&part, Room::default());
        }
    }
}
