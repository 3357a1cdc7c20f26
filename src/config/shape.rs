//! Whether what was written has the shape that the schema asks for: known keys, text where text belongs.
//!
//! Refuses to stop at the first mistake: a wrong piece is reported and cut out, and the rest goes on to the rules. Each
//! source is looked at before it is merged, so that no source hides the mistakes of another.

use std::collections::BTreeMap;

use ::config::{Map, Value, ValueKind};
use serde_json::Value as Json;

use super::problems::{Problems, nearest, shown};
use super::schema::{Node, Shape};
use super::sources::{PREFIX, TOKEN_KEY, TOKEN_VARIABLE, variable};

/// The key by which a table in a list is named, where a line of text may name it.
const ID: &str = "id";

/// Looks at one source.
pub(super) struct Inspector<'a> {
    pub(super) root: Node<'a>,
    /// Who is asked to mend it: `file a.toml`, `environment variable X`, `flag --set`.
    pub(super) source: String,
    pub(super) problems: &'a mut Problems,
}

// === impl Inspector ===

impl Inspector<'_> {
    /// What is right in `value`, which stands at `path` in a file.
    pub(super) fn value(&mut self, node: Node<'_>, path: &str, value: Value) -> Option<Value> {
        let kind = match (node.shape(), value.kind) {
            // An empty key is how YAML spells that nothing was said.
            (_, ValueKind::Nil) => return None,
            (Shape::Table, ValueKind::Table(table)) => self.table(node, path, table),
            (Shape::List, ValueKind::Array(list)) => self.list(node, path, list),
            (Shape::Size, ValueKind::I64(number)) => ValueKind::String(number.to_string()),
            #[expect(clippy::cast_precision_loss, reason = "so large a number is out of every range")]
            (Shape::Fraction, ValueKind::I64(number)) => ValueKind::Float(number as f64),
            (Shape::Text | Shape::Size, kind @ ValueKind::String(_))
            | (Shape::Switch, kind @ ValueKind::Boolean(_))
            | (Shape::Number, kind @ ValueKind::I64(_))
            | (Shape::Fraction, kind @ ValueKind::Float(_)) => kind,
            (wanted, kind) => {
                self.wrong_shape(node, path, &format!("must be {}, not {}", wanted.name(), shape_of(&kind)));
                return None;
            }
        };
        Some(Value::new(Some(&self.source), kind))
    }

    fn table(&mut self, node: Node<'_>, path: &str, table: Map<String, Value>) -> ValueKind {
        let mut right = Map::new();
        for (name, value) in table.into_iter().collect::<BTreeMap<_, _>>() {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match node.child(&name) {
                Some(child) => right.extend(self.value(child, &below, value).map(|value| (name, value))),
                None => self.unknown(Some(node), &below),
            }
        }
        ValueKind::Table(right)
    }

    fn list(&mut self, node: Node<'_>, path: &str, list: Vec<Value>) -> ValueKind {
        let Some(items) = node.items() else { return ValueKind::Nil };
        let right = list.into_iter().enumerate().map(|(index, value)| {
            let right = self.value(items, &format!("{path}[{index}]"), value);
            // Something stays in its place, so that those after it keep their number.
            right.unwrap_or_else(|| Value::new(Some(&self.source), placeholder(items)))
        });
        ValueKind::Array(right.collect())
    }

    /// What is right in `text`, which an environment variable or a flag gives to the key `path`.
    pub(super) fn text(&mut self, path: &str, text: &str) -> Option<Value> {
        if let Some(list) = self.beyond_a_line(path) {
            let rule = "is a list of tables, which a line of text cannot say";
            let fix = format!("write each as a table of its own, [[{list}]], in a file, and name that with --config");
            self.problems.add(path, &self.source, rule, fix);
            return None;
        }
        let Some(node) = self.root.at(path) else {
            self.unknown(None, path);
            return None;
        };
        let kind = match node.shape() {
            Shape::Table => None,
            Shape::Text | Shape::Size => Some(ValueKind::String(text.to_owned())),
            Shape::Switch => text.parse().ok().map(ValueKind::Boolean),
            Shape::Number => text.parse().ok().map(ValueKind::I64),
            Shape::Fraction => text.parse().ok().map(ValueKind::Float),
            Shape::List => node.items().map(|items| self.comma_separated(items, text)),
        };
        if kind.is_none() {
            self.wrong_shape(node, path, &format!("must be {}, not {}", node.shape().name(), shown(text)));
        }
        kind.map(|kind| Value::new(Some(&self.source), kind))
    }

    /// The list of tables that `path` is or leads into, unless it is all of one whose tables may be named by their ids.
    fn beyond_a_line<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut above = path.match_indices(['.', '[']).filter_map(|(end, _)| path.get(..end));
        let is_list = |path: &str| self.root.at(path).is_some_and(Node::is_list_of_tables);
        let has_no_id = |path: &str| self.root.at(path)?.items()?.child(ID).is_none().then_some(());
        above
            .find(|path| is_list(path))
            .or_else(|| Some(path).filter(|path| is_list(path) && has_no_id(path).is_some()))
    }

    fn comma_separated(&self, items: Node<'_>, text: &str) -> ValueKind {
        let item = |text: &str| {
            let text = Value::new(Some(&self.source), text.trim());
            match items.shape() {
                // A table in a list is named by its id, and a list of ids is all that a line of text can say.
                Shape::Table => Value::new(Some(&self.source), Map::from([(ID.to_owned(), text)])),
                Shape::List | Shape::Text | Shape::Switch | Shape::Number | Shape::Fraction | Shape::Size => text,
            }
        };
        ValueKind::Array(if text.trim().is_empty() { Vec::new() } else { text.split(',').map(item).collect() })
    }

    fn wrong_shape(&mut self, node: Node<'_>, path: &str, rule: &str) {
        let fix = match (node.shape(), node.example()) {
            (Shape::Table, _) => {
                let keys: Vec<_> = node.children().map(|(name, _)| name).collect();
                format!("set its keys one by one: {}", keys.join(", "))
            }
            (Shape::List, _) if node.is_list_of_tables() => format!("write each as a table of its own: [[{path}]]"),
            (_, Some(Json::Array(list))) if list.is_empty() => "write a list in brackets".to_owned(),
            (_, Some(example)) => format!("write it like {example}"),
            (shape, None) => format!("write {}", shape.name()),
        };
        self.problems.add(path, &self.source, rule, fix);
    }

    /// `table` is where the key was found, when the source has tables.
    fn unknown(&mut self, table: Option<Node<'_>>, path: &str) {
        if path == TOKEN_KEY {
            let rule = "secrets never come from a configuration file or the command line, where others can read them";
            let fix = format!("use monime.token_file or {TOKEN_VARIABLE}, and replace this token if others saw it");
            return self.problems.add(path, &self.source, rule, fix);
        }
        let fix = match self.meant(table, path) {
            Some(key) if self.source.contains(PREFIX) => format!("did you mean {}?", variable(&key)),
            Some(key) => format!("did you mean {key}?"),
            None => "remove it; `monigate schema` lists every key".to_owned(),
        };
        self.problems.add(path, &self.source, "is not a known key", fix);
    }

    /// A name beside it that reads alike; else a path that does; else the same name in another table.
    fn meant(&self, table: Option<Node<'_>>, path: &str) -> Option<String> {
        let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
        let beside = table.and_then(|table| nearest(name, table.children().map(|(name, _)| name)));
        if let Some(beside) = beside {
            return Some(if above.is_empty() { beside.to_owned() } else { format!("{above}.{beside}") });
        }
        let leaves = self.root.leaves();
        let paths = || leaves.iter().map(|(path, _)| path.as_str());
        let same_name = || paths().find(|path| path.rsplit('.').next() == Some(name));
        nearest(path, paths()).or_else(same_name).map(str::to_owned)
    }
}

/// What a cut-out piece of a list leaves behind. The rules pass over what is already known to be wrong.
fn placeholder(items: Node<'_>) -> ValueKind {
    match items.shape() {
        Shape::Table => ValueKind::Table(Map::new()),
        Shape::List | Shape::Text | Shape::Switch | Shape::Number | Shape::Fraction | Shape::Size => {
            ValueKind::String(String::new())
        }
    }
}

fn shape_of(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "a number",
        ValueKind::Float(_) => "a number with a fraction",
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}
