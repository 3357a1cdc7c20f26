//! The JSON Schema of the settings, and the walk through it that shapes and defaults are read from.
//!
//! Refuses to know a single key: everything comes from the types in `raw`.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value as Json;

use super::raw::Raw;

/// The schema as one tree, without references: JSON Schema 2020-12.
pub(super) fn schema() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let settings = settings.with_transform(RecursiveTransform(require_only_what_has_no_default));
    settings.into_generator().into_root_schema_for::<Raw>().to_value()
}

/// The types hold what is there after merging, so they need every key; a file needs only what no default gives.
fn require_only_what_has_no_default(schema: &mut Schema) {
    let Some(Json::Array(mut required)) = schema.remove("required") else { return };
    let node = Node(schema.as_value());
    required.retain(|name| {
        let key = name.as_str().and_then(|name| node.child(name));
        key.is_some_and(|key| key.default().is_none() && key.shape() != Shape::Table)
    });
    if !required.is_empty() {
        schema.insert("required".to_owned(), Json::Array(required));
    }
}

/// One place in the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a>(pub(super) &'a Json);

/// What kind of value belongs in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Named keys.
    Table,
    /// Several values.
    List,
    /// Text.
    Text,
    /// True or false.
    Switch,
    /// A whole number.
    Number,
    /// A number, with or without a fraction.
    Fraction,
    /// A whole number or text with a unit.
    Size,
}

// === impl Node ===

impl<'a> Node<'a> {
    /// The place of a key in this table.
    pub(super) fn child(self, name: &str) -> Option<Self> {
        self.0.get("properties")?.get(name).map(Self)
    }

    /// The place of a path from here.
    pub(super) fn at(self, path: &str) -> Option<Self> {
        path.split('.').try_fold(self, Self::child)
    }

    /// The keys of this table.
    pub(super) fn children(self) -> impl Iterator<Item = (&'a str, Self)> {
        let properties = self.0.get("properties").and_then(Json::as_object);
        properties.into_iter().flatten().map(|(name, node)| (name.as_str(), Self(node)))
    }

    /// What the values of this list must be.
    pub(super) fn items(self) -> Option<Self> {
        self.0.get("items").map(Self)
    }

    /// Whether this is a list whose values have keys of their own.
    pub(super) fn is_list_of_tables(self) -> bool {
        self.shape() == Shape::List && self.items().is_some_and(|items| items.shape() == Shape::Table)
    }

    /// A value that would do here.
    pub(super) fn example(self) -> Option<&'a Json> {
        self.0.get("default").or_else(|| self.0.get("examples")?.get(0))
    }

    pub(super) fn shape(self) -> Shape {
        let kind = self.0.get("type");
        let accepts = |name: &str| match kind {
            Some(Json::Array(kinds)) => kinds.iter().any(|kind| kind == name),
            Some(kind) => kind == name,
            None => false,
        };
        match (accepts("string"), accepts("integer")) {
            (true, true) => Shape::Size,
            (true, false) => Shape::Text,
            (false, true) => Shape::Number,
            (false, false) if accepts("number") => Shape::Fraction,
            (false, false) if accepts("boolean") => Shape::Switch,
            (false, false) if accepts("array") => Shape::List,
            (false, false) => Shape::Table,
        }
    }

    /// Every key below this table that takes a value, by its full path. A list is one key.
    pub(super) fn leaves(self) -> Vec<(String, Self)> {
        let mut leaves = Vec::new();
        for (name, node) in self.children() {
            if node.shape() == Shape::Table {
                leaves.extend(node.leaves().into_iter().map(|(path, leaf)| (format!("{name}.{path}"), leaf)));
            } else {
                leaves.push((name.to_owned(), node));
            }
        }
        leaves
    }

    /// The built-in value, for the keys that have one.
    pub(super) fn default(self) -> Option<&'a Json> {
        self.0.get("default")
    }
}

// === impl Shape ===

impl Shape {
    /// The words for it in a sentence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Table => "a table of keys",
            Self::List => "a list",
            Self::Text => "text in quotes",
            Self::Switch => "true or false",
            Self::Number => "a whole number",
            Self::Fraction => "a number",
            Self::Size => "a size: text with a unit, or a number of bytes",
        }
    }
}
