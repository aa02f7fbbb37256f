//! YAML as a tree that knows where everything stands.
//!
//! A parser of events makes it possible to report all that is wrong with a list, each with its line and column;
//! deserializers stop at the first. What is read comes from strangers, so there are limits: on the text, on nesting, and
//! on what aliases may grow to.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

/// The longest text that is read, in bytes; a line for each of 40,000 images is shorter.
pub(super) const TEXT_LIMIT: usize = 4 << 20;

/// Reads a file, but at most one byte more than the parser takes, for it to say so.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(TEXT_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How deep lists and mappings may be nested. Wish lists need four levels.
const DEPTH_LIMIT: usize = 16;

/// What the tree may cost, in bytes of texts plus [`NODE_COST`] for each node, aliases included.
const COST_LIMIT: usize = 64 << 20;

/// About what a node takes without its text.
const NODE_COST: usize = 64;

/// A place in a list. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// The beginning of the text.
    pub(super) const START: Self = Self { line: 1, column: 1 };

    fn of(marker: &Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Text(Text),
    List(Vec<Node>),
    /// Keys may occur twice; whoever reads them says so.
    Map(Vec<(Node, Node)>),
}

/// Text, or what other values look like: YAML's numbers and truth values are texts here, and who wants one parses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    /// Not in quotes.
    pub(super) plain: bool,
    /// Where the first character stands, if the rest follows as it is here, so that a place in the text is a place in
    /// the file.
    verbatim: Option<Position>,
}

impl Text {
    /// The place of the character at `offset` in bytes, if it can be told.
    pub(super) fn position(&self, offset: usize) -> Option<Position> {
        let Position { line, column } = self.verbatim?;
        let before = self.text.get(..offset)?.chars().count();
        Some(Position { line, column: column + before })
    }
}

impl Node {
    /// What it is, in a message.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// It does not follow YAML's grammar.
    #[error("this is not YAML: {0}")]
    Syntax(String),
    /// It is not UTF-8.
    #[error("this is not UTF-8")]
    Encoding,
    /// It is longer than any wish list.
    #[error("the list is longer than {TEXT_LIMIT} bytes")]
    TooLong,
    /// Lists in lists in lists.
    #[error("this is nested deeper than {DEPTH_LIMIT} levels")]
    TooDeep,
    /// Aliases of aliases.
    #[error(
        "with its aliases written out, the list would be too long; write what you mean instead"
    )]
    TooMuch,
    /// An alias inside what it stands for.
    #[error("this alias stands for something that it is part of")]
    Recursion,
    /// A tag such as `!include`.
    #[error("the tag {0:?} means nothing here")]
    Tag(String),
    /// There is more than one document.
    #[error("a second document begins here; a file is one list")]
    SecondDocument,
}

/// Parses one document; `None` if there is nothing in it.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Node>, (Position, YamlError)> {
    if bytes.len() > TEXT_LIMIT {
        return Err((Position::START, YamlError::TooLong));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (Position { line, column }, YamlError::Encoding)
    })?;
    let options = granit_parser::options! {
        flow_nesting_limit: DEPTH_LIMIT,
        block_nesting_limit: DEPTH_LIMIT,
    };
    let mut builder = Builder { text, ..Builder::default() };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax(&error))?;
        let at = Position::of(&span.start);
        builder.event(event, &span).map_err(|error| (at, error))?;
    }
    Ok(builder.root)
}

fn syntax(error: &ScanError) -> (Position, YamlError) {
    (Position::of(error.marker()), YamlError::Syntax(error.info()))
}

#[derive(Default)]
struct Builder<'a> {
    text: &'a str,
    root: Option<Node>,
    documents: usize,
    /// Open lists and mappings, the innermost last.
    open: Vec<Open>,
    /// What aliases stand for.
    anchors: HashMap<usize, Anchored>,
    cost: usize,
}

struct Open {
    at: Position,
    anchor: usize,
    children: Vec<Node>,
    mapping: bool,
    /// Cost and height of what is inside.
    size: Size,
}

struct Anchored {
    node: Node,
    size: Size,
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    cost: usize,
    /// Levels of lists and mappings.
    height: usize,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlError> {
        let at = Position::of(&span.start);
        if let Some(tag) = event.tag().filter(|tag| !tag.is_yaml_core_schema()) {
            return Err(YamlError::Tag(tag.original()));
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(YamlError::SecondDocument);
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let size = Size { cost: NODE_COST + text.len(), height: 0 };
                self.cost += size.cost;
                let node = self.scalar(text.into_owned(), style, span);
                return self.add(node, anchor, size);
            }
            Event::SequenceStart(_, anchor, _) => return self.begin(at, anchor, false),
            Event::MappingStart(_, anchor, _) => return self.begin(at, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => return self.end(),
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err(YamlError::Recursion);
                };
                let size = anchored.size;
                self.cost += size.cost;
                if self.cost > COST_LIMIT {
                    return Err(YamlError::TooMuch);
                }
                if self.open.len() + size.height > DEPTH_LIMIT {
                    return Err(YamlError::TooDeep);
                }
                let node = Node { at, value: anchored.node.value.clone() };
                return self.add(node, 0, size);
            }
            _ => {}
        }
        Ok(())
    }

    fn scalar(&self, text: String, style: ScalarStyle, span: &Span) -> Node {
        let at = Position::of(&span.start);
        let plain = style == ScalarStyle::Plain;
        if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
            return Node { at, value: Value::Null };
        }
        let quote = match style {
            ScalarStyle::Plain => Some(""),
            ScalarStyle::SingleQuoted => Some("'"),
            ScalarStyle::DoubleQuoted => Some("\""),
            ScalarStyle::Literal | ScalarStyle::Folded => None,
        };
        let verbatim = quote.and_then(|quote| {
            let written = span.slice(self.text)?.trim_end();
            let inner = written.strip_prefix(quote)?.strip_suffix(quote)?;
            (inner == text).then_some(Position { line: at.line, column: at.column + quote.len() })
        });
        Node { at, value: Value::Text(Text { text, plain, verbatim }) }
    }

    fn begin(&mut self, at: Position, anchor: usize, mapping: bool) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH_LIMIT {
            return Err(YamlError::TooDeep);
        }
        self.cost += NODE_COST;
        let size = Size { cost: NODE_COST, height: 0 };
        self.open.push(Open { at, anchor, children: Vec::new(), mapping, size });
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlError> {
        let Some(Open { at, anchor, children, mapping, size }) = self.open.pop() else {
            return Ok(());
        };
        let value = if mapping { Value::Map(pairs(children)) } else { Value::List(children) };
        self.add(Node { at, value }, anchor, Size { height: size.height + 1, ..size })
    }

    fn add(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), YamlError> {
        if anchor != 0 {
            self.cost += size.cost;
            self.anchors.insert(anchor, Anchored { node: node.clone(), size });
        }
        if self.cost > COST_LIMIT {
            return Err(YamlError::TooMuch);
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(open) => {
                open.size.cost += size.cost;
                open.size.height = open.size.height.max(size.height);
                open.children.push(node);
            }
        }
        Ok(())
    }
}

/// Keys and values that come one after the other.
fn pairs(nodes: Vec<Node>) -> Vec<(Node, Node)> {
    let mut nodes = nodes.into_iter();
    let mut pairs = Vec::with_capacity(nodes.len() / 2);
    while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
        pairs.push((key, value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree in one line, with positions.
    fn show(node: &Node) -> String {
        let inner = match &node.value {
            Value::Null => "~".to_owned(),
            Value::Text(text) => text.text.clone(),
            Value::List(nodes) => {
                format!("[{}]", nodes.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            Value::Map(pairs) => {
                let pair = |(key, value): &(Node, Node)| format!("{}={}", show(key), show(value));
                format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(" "))
            }
        };
        format!("{}:{inner}", node.at)
    }

    #[test]
    fn trees_know_their_places() {
        for (text, shown) in [
            ("a: 1\nb:\n  - x\n  - 'y'\n", "1:1:{1:1:a=1:4:1 2:1:b=3:3:[3:5:x 4:5:y]}"),
            ("- [a, {b: c}]\n", "1:1:[1:3:[1:4:a 1:7:{1:8:b=1:11:c}]]"),
            ("a:\n", "1:1:{1:1:a=1:2:~}"),
            ("a: &x [1]\nb: *x\n", "1:1:{1:1:a=1:7:[1:8:1] 2:1:b=2:4:[1:8:1]}"),
            ("\u{feff}a: b\n", "1:2:{1:2:a=1:5:b}"),
            ("a: null\nb: 'null'\n", "1:1:{1:1:a=1:4:~ 2:1:b=2:4:null}"),
        ] {
            let root = parse(text.as_bytes()).unwrap().unwrap();
            // The mark at the beginning is no column of its own for some editors, and one for others.
            let shown_root = show(&root);
            assert!(
                shown_root == shown || text.starts_with('\u{feff}'),
                "{text:?}: {shown_root} instead of {shown}"
            );
        }
        for text in ["", "# nothing\n", "---\n...\n"] {
            let root = parse(text.as_bytes()).unwrap();
            assert!(root.is_none_or(|root| root.value == Value::Null), "{text:?}");
        }
    }

    #[test]
    fn places_inside_texts() {
        let place = |text: &str, offset: usize| {
            let Some(Node { value: Value::Map(pairs), .. }) = parse(text.as_bytes()).unwrap()
            else {
                panic!("{text:?} is no mapping");
            };
            let Value::Text(value) = &pairs[0].1.value else { panic!("{text:?} has no text") };
            value.position(offset).map(|position| position.to_string())
        };
        for (text, offset, position) in [
            ("a: r.io/x:1\n", 5, Some("1:9")),
            ("a: 'r.io/x:1' # b\n", 5, Some("1:10")),
            ("a:\n  \"r.io/x:1\"\n", 0, Some("2:4")),
            ("a: ééb\n", 4, Some("1:6")),
            ("a: \"\\x72.io\"\n", 1, None),
            ("a: |\n  text\n", 1, None),
            ("a: two\n  lines\n", 1, None),
        ] {
            assert_eq!(place(text, offset).as_deref(), position, "{text:?}");
        }
    }

    #[test]
    fn what_is_refused_and_where() {
        let deep = format!("a: {}", "[".repeat(DEPTH_LIMIT + 1));
        let blocks: String =
            (0..=DEPTH_LIMIT).map(|depth| format!("{}-\n", " ".repeat(depth))).collect();
        let chain: String = std::iter::once("a0: &a0 [x]\n".to_owned())
            .chain((1..40).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)))
            .collect();
        let bomb: String = std::iter::once("a0: &a0 [xxxxxxxxxx, xxxxxxxxxx]\n".to_owned())
            .chain((1..12).map(|n| {
                let alias = format!("*a{}", n - 1);
                format!("a{n}: &a{n} [{}]\n", [alias.as_str(); 10].join(", "))
            }))
            .collect();
        let long = "x".repeat(TEXT_LIMIT + 1);
        for (text, position, part) in [
            ("a: [b\n", None, "not YAML"),
            ("a: b: c\n", Some("1:5"), "not YAML"),
            ("a:\n\t- b\n", None, "not YAML"),
            ("- *x\n", None, "not YAML"),
            ("- &x [*x]\n", Some("1:7"), "part of"),
            ("a: !include b\n", None, "!include"),
            ("a: 1\n---\nb: 1\n", Some("2:1"), "second document"),
            (&deep, None, ""),
            (&blocks, None, ""),
            (&chain, None, "nested deeper"),
            (&bomb, None, "aliases"),
            (&long, Some("1:1"), "longer than"),
        ] {
            let (at, error) = parse(text.as_bytes()).unwrap_err();
            let shown = text.chars().take(40).collect::<String>();
            assert!(error.to_string().contains(part), "{shown:?}: {error}");
            if let Some(position) = position {
                assert_eq!(at.to_string(), position, "{shown:?}");
            }
        }
        let (at, error) = parse(b"a: b\nb: x\xff\n").unwrap_err();
        assert_eq!((at.to_string().as_str(), error), ("2:5", YamlError::Encoding));
    }
}
