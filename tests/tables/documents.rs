//! Tables in a document: a marker, `<!-- table: NAME -->` on a line of its own, and a fenced block or a Markdown table right below.

/// The name in a marker.
fn marked(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- table: ")?.strip_suffix(" -->")
}

/// The document with each marked table made anew.
pub fn remade(document: &str, mut make: impl FnMut(&str) -> Vec<String>) -> String {
    let mut lines = document.lines().peekable();
    let mut text = String::new();
    let mut put = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    while let Some(line) = lines.next() {
        put(line);
        let Some(name) = marked(line) else { continue };
        let fenced = lines.peek().is_some_and(|line| line.starts_with("```"));
        if fenced {
            put(lines.next().unwrap());
            let end = lines.by_ref().find(|line| line.starts_with("```"));
            assert!(end.is_some(), "the table '{name}' has no end");
        } else {
            while lines.next_if(|line| line.starts_with('|')).is_some() {}
        }
        for line in make(name) {
            // What a program prints is text, what is made here is Markdown.
            assert_ne!(fenced, line.starts_with('|'), "{name}: {line}");
            put(&line);
        }
        if fenced {
            put("```");
        }
    }
    text
}

#[test]
fn only_marked_tables_are_made_anew() {
    let document =
        "a\n<!-- table: x -->\n```text\nold\n```\n| b |\n<!-- table: y -->\n| old |\n| old |\nc\n";
    let made = remade(document, |name| match name {
        "x" => vec!["new".to_owned(), String::new()],
        _ => vec!["| new |".to_owned()],
    });
    let expected =
        "a\n<!-- table: x -->\n```text\nnew\n\n```\n| b |\n<!-- table: y -->\n| new |\nc\n";
    assert_eq!(made, expected);
}
