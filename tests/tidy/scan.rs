//! Rust source as the rules see it: code without comments and literals, line by line, and paths.
//!
//! A scanner, not a compiler: it knows tokens, braces and `use` trees, and no macros.

use std::collections::BTreeSet;
use std::ops::Range;

/// One source file, taken apart.
pub(crate) struct Source {
    /// Path from the repository's root, with `/`.
    pub(crate) path: String,
    /// The lines as they are.
    pub(crate) lines: Vec<String>,
    /// The lines with comments and the insides of literals blanked.
    pub(crate) code: Vec<String>,
    /// The comment text of each line.
    pub(crate) comments: Vec<String>,
    /// For each line, whether it is test code: in a `#[cfg(test)]` item, or in a file of tests.
    pub(crate) is_test: Vec<bool>,
    /// Files that this one declares as test modules, by path.
    pub(crate) test_files: Vec<String>,
}

/// A path such as `crate::rt::timer`, of a `use` tree or an expression; a glob ends in `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Index of its line.
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    line: usize,
    text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut source = Self {
            path: path.to_owned(),
            is_test: vec![path.starts_with("tests/"); lines.len()],
            lines,
            code,
            comments,
            test_files: Vec::new(),
        };
        source.find_tests();
        source
    }

    /// Makes the whole file test code: another file declares it under `#[cfg(test)]`.
    pub(crate) fn mark_test(&mut self) {
        self.is_test.fill(true);
    }

    /// Whether a comment on the line, or on the lines of its statement and above it, has `mark`.
    pub(crate) fn is_explained(&self, line: usize, mark: &str) -> bool {
        let mut at = line;
        while !self.comments[at].contains(mark) {
            let Some(above) = at.checked_sub(1) else {
                return false;
            };
            let code = self.code[above].trim();
            let is_apart = if code.is_empty() {
                self.comments[above].trim().is_empty()
            } else {
                // A comment above a match arm speaks for the arm.
                code.ends_with([';', '{', '}']) && !code.ends_with("=> {")
            };
            if is_apart {
                return false;
            }
            at = above;
        }
        true
    }

    /// Paths in code that is no test.
    pub(crate) fn production_paths(&self) -> Vec<Path> {
        let blank = |(line, is_test): (&String, &bool)| {
            if *is_test { String::new() } else { line.clone() }
        };
        let code: Vec<String> = self.code.iter().zip(&self.is_test).map(blank).collect();
        paths(&tokens(&code))
    }

    /// Name and lines of every function with a body.
    pub(crate) fn functions(&self) -> Vec<(String, Range<usize>)> {
        let tokens = tokens(&self.code);
        let mut found = Vec::new();
        for (at, pair) in tokens.windows(2).enumerate() {
            if pair[0].text == "fn"
                && is_name(&pair[1].text)
                && let Some(end) = end_of_item(&tokens, at)
                && tokens[end].text == "}"
            {
                found.push((pair[1].text.clone(), pair[0].line..tokens[end].line + 1));
            }
        }
        found
    }

    /// Finds `#[cfg(test)]` items: their lines, or the files that they stand for.
    fn find_tests(&mut self) {
        let tokens = tokens(&self.code);
        let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
        for at in 0..tokens.len() {
            if !texts[at..].starts_with(&attribute) {
                continue;
            }
            let Some(end) = end_of_item(&tokens, at + attribute.len()) else {
                continue;
            };
            let lines = tokens[at].line..tokens[end].line + 1;
            let name = texts[at..end].iter().position(|&text| text == "mod");
            if let Some(name) = name
                && texts[end] == ";"
            {
                let name = texts[at + name + 1];
                let file = self.module_file(&lines, name);
                self.test_files.extend(file);
            }
            self.is_test[lines].fill(true);
        }
    }

    /// Where `mod name;` of these lines may be, with regard to `#[path = ".."]`.
    fn module_file(&self, lines: &Range<usize>, name: &str) -> Vec<String> {
        let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let attribute = self.lines[lines.clone()].iter().find(|line| line.contains("#[path"));
        if let Some(file) = attribute.and_then(|line| line.split('"').nth(1)) {
            return vec![format!("{directory}/{file}")];
        }
        let stem = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let inside = if stem.ends_with("/lib") { directory } else { stem };
        vec![format!("{inside}/{name}.rs"), format!("{inside}/{name}/mod.rs")]
    }
}

/// Marks as tests what files declare to be, and everything below those.
pub(crate) fn mark_test_files(sources: &mut [Source]) {
    let declared: BTreeSet<String> =
        sources.iter().flat_map(|source| source.test_files.iter().cloned()).collect();
    for source in sources {
        let is_below = |file: &String| {
            let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
            source.path == *file || source.path.starts_with(&format!("{stem}/"))
        };
        if declared.iter().any(is_below) {
            source.mark_test();
        }
    }
}

/// Index of the token that ends the item begun at `at`: its closing brace, or a semicolon.
fn end_of_item(tokens: &[Token], at: usize) -> Option<usize> {
    let mut braces = 0_usize;
    let mut others = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" => others += 1,
            ")" | "]" => others = others.saturating_sub(1),
            "{" => braces += 1,
            "}" => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && others == 0 {
                    return Some(index);
                }
            }
            ";" if braces == 0 && others == 0 => return Some(index),
            _ => {}
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn tokens(code: &[String]) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (line, code) in code.iter().enumerate() {
        let mut rest = code.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let mut bytes = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if bytes == 0 {
                bytes = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            }
            let (text, after) = rest.split_at(bytes);
            tokens.push(Token { line, text: text.to_owned() });
            rest = after.trim_start();
        }
    }
    tokens
}

fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let text = |back: usize| at.checked_sub(back).map_or("", |at| tokens[at].text.as_str());
        // `::name` begins a path where no name or generic argument is in front of it.
        let is_inner = text(1) == "::" && (is_name(text(2)) || text(2) == ">") || text(1) == ".";
        if tokens[at].text == "use" {
            at = use_tree(tokens, at + 1, &[], &mut found);
        } else if is_name(&tokens[at].text) && !is_inner {
            let (path, end) = chain(tokens, at);
            found.push(path);
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// Names joined by `::` from `at` on, and where they end.
fn chain(tokens: &[Token], at: usize) -> (Path, usize) {
    let mut path = Path { line: tokens[at].line, segments: vec![tokens[at].text.clone()] };
    let mut end = at + 1;
    while let Some([colons, name]) = tokens.get(end..end + 2)
        && colons.text == "::"
        && is_name(&name.text)
    {
        path.segments.push(name.text.clone());
        end += 2;
    }
    (path, end)
}

/// Reads one tree of a `use` declaration after `prefix`; returns where it ends.
fn use_tree(tokens: &[Token], at: usize, prefix: &[String], found: &mut Vec<Path>) -> usize {
    let mut segments = prefix.to_vec();
    let mut at = at;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = use_tree(tokens, at, &segments, found);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            "*" => {
                segments.push("*".to_owned());
                at += 1;
            }
            // The new name says nothing about what is imported.
            "as" => at += 2,
            // `use a::{self}` is `a`.
            "self" if !segments.is_empty() => at += 1,
            text if is_name(text) => {
                segments.push(text.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    let line = at.checked_sub(1).map_or(0, |last| tokens[last].line);
    found.push(Path { line, segments });
    // A token that belongs to no tree is skipped, so that every call gets on.
    at + usize::from(tokens.get(at).is_some_and(|token| !matches!(&*token.text, "," | "}" | ";")))
}

/// Splits text into code with comments and literals blanked, and comments, line by line.
fn split(text: &str) -> (Vec<String>, Vec<String>) {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::new();
    let mut comments = String::new();
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let (length, is_comment) = match rest {
            ['/', '/', ..] => (rest.iter().take_while(|&&c| c != '\n').count(), true),
            ['/', '*', ..] => (block_comment_length(rest), true),
            _ => (literal_length(rest, at.checked_sub(1).map(|at| characters[at])), false),
        };
        for (index, &c) in rest[..length.max(1)].iter().enumerate() {
            let is_edge = index == 0 || index + 1 == length;
            let is_code = length == 0 || (!is_comment && is_edge);
            code.push(if c == '\n' || is_code { c } else { ' ' });
            if c == '\n' || is_comment {
                comments.push(c);
            }
        }
        at += length.max(1);
    }
    let count = text.lines().count();
    let lines = |text: &str| text.split('\n').take(count).map(str::to_owned).collect();
    (lines(&code), lines(&comments))
}

fn block_comment_length(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// Characters of the literal that begins here; 0 where none does.
fn literal_length(rest: &[char], before: Option<char>) -> usize {
    match rest {
        ['"', ..] => quoted_length(rest, '"'),
        ['\'', '\\', ..] => quoted_length(rest, '\''),
        // Otherwise it is a lifetime.
        ['\'', _, '\'', ..] => 3,
        ['r', '"' | '#', ..] if before.is_none_or(|c| !c.is_alphanumeric() || "bc".contains(c)) => {
            raw_length(rest)
        }
        _ => 0,
    }
}

fn quoted_length(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_length(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    // `r#name` is an identifier.
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let body = 2 + hashes;
    let is_end = |at: &usize| {
        rest[*at] == '"' && rest[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    (body..rest.len()).find(is_end).map_or(rest.len(), |at| at + 1 + hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("src/x.rs", text).code.join("\n")
    }

    fn found(text: &str) -> Vec<String> {
        let source = Source::new("src/x.rs", text);
        source.production_paths().iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let text = "a /* x /* y */ z\n*/ b // c\n\"s\\\" // {\" 'l' '\\'' <'a> r#\"q\"q\"# r#fn";
        let blanked = code(text);
        assert_eq!(blanked.lines().count(), 3);
        let words: Vec<&str> = blanked.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "\"", "\"", "'", "'", "'", "'", "<'a>", "r", "#", "r#fn"]);
        let source = Source::new("src/x.rs", text);
        assert!(source.comments[1].contains("c") && source.comments[2].is_empty());
    }

    #[test]
    fn use_trees_are_expanded() {
        let text = "use std::{fs, net::{self, TcpStream as T}, time::*};\npub use crate::a::B;\n";
        let expected =
            ["std::fs", "std::net", "std::net::TcpStream", "std::time::*", "pub", "crate::a::B"];
        assert_eq!(found(text), expected);
        let text = "use super::super::rt;\nlet x = crate::sys::ring::Ring::<T>::new(a.b);";
        let expected = ["super::super::rt", "let", "x", "crate::sys::ring::Ring", "T", "a"];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn test_items_are_found_and_test_files_too() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    use crate::b;\n}\nfn c() {}\n";
        let source = Source::new("src/x.rs", text);
        assert_eq!(source.is_test, [false, true, true, true, true, false]);
        assert!(!found(text).contains(&"crate::b".to_owned()));
        let text = "#[cfg(test)]\n#[path = \"y_tests.rs\"]\nmod tests;\n";
        assert_eq!(Source::new("src/a/y.rs", text).test_files, ["src/a/y_tests.rs"]);
        let mut sources = [
            Source::new("src/a/mod.rs", "#[cfg(test)]\nmod tests;\n"),
            Source::new("src/a/tests.rs", "fn t() {}\n"),
            Source::new("src/a/tests/more.rs", "fn t() {}\n"),
            Source::new("src/tests.rs", "fn t() {}\n"),
        ];
        mark_test_files(&mut sources);
        assert_eq!(sources.map(|source| source.is_test[0]), [true, true, true, false]);
    }

    #[test]
    fn functions_have_their_lines() {
        let text = "fn a(x: [u8; 2]) -> T\nwhere\n    T: U,\n{\n    \"}\";\n}\n\
                    trait X {\n    fn b();\n}\ntype F = fn(u8);\n";
        let functions = Source::new("src/x.rs", text).functions();
        assert_eq!(functions, [("a".to_owned(), 0..6)]);
    }

    #[test]
    fn an_explanation_counts_for_its_statement_only() {
        let text = "// mark: one\nlet a = b\n    .c()\n    .d();\nlet e = f();\n\n\
                    let g = 1; // mark:\n";
        let source = Source::new("src/x.rs", text);
        let explained: Vec<bool> =
            (0..source.lines.len()).map(|line| source.is_explained(line, "mark:")).collect();
        assert_eq!(explained, [true, true, true, true, false, false, true]);
    }
}
