//! One Rust file as the rules see it: which paths it names, where, and which of its lines are not a test's.
//!
//! Works on tokens rather than on a syntax tree, so that paths inside macro calls and attributes count as well.
//! Comments are gone and texts are single tokens by then. Refuses to understand more of Rust than paths need.

use std::collections::HashMap;

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// A file, read.
#[derive(Default)]
pub(super) struct Source {
    /// Every path in code that is not a test's.
    pub(super) paths: Vec<Path>,
    /// The modules that it declares as `#[cfg(test)] mod name;`.
    pub(super) test_modules: Vec<String>,
    /// The modules that it declares otherwise.
    pub(super) modules: Vec<String>,
    /// Lines that are not in a test module.
    pub(super) code_lines: usize,
    /// Where `#[cfg(test)]` stands before something else than a `mod` or a `use`.
    pub(super) switches: Vec<usize>,
    aliases: HashMap<String, Vec<String>>,
}

/// A path and where it begins. `crate`, `self` and `super` are resolved: what is ours begins with `crate` (this one)
/// or `monigate` (the library), everything else with the name of a crate.
pub(super) struct Path {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
}

impl Source {
    /// Reads the text of the file that is the module `here`.
    pub(super) fn read(text: &str, here: &[&str]) -> Result<Self, String> {
        let tokens: TokenStream = text.parse().map_err(|error| format!("it is not Rust: {error}"))?;
        let mut source = Self { code_lines: text.lines().count(), ..Self::default() };
        source.walk(tokens, &here.iter().map(ToString::to_string).collect::<Vec<_>>());
        let aliases = std::mem::take(&mut source.aliases);
        for path in &mut source.paths {
            resolve(&mut path.segments, &aliases);
        }
        Ok(source)
    }

    fn walk(&mut self, tokens: TokenStream, here: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(&tokens, at, here);
        }
    }

    /// Reads what begins at `at`; returns where the next begins.
    fn step(&mut self, tokens: &[TokenTree], at: usize, here: &[String]) -> usize {
        let next = tokens.get(at + 1);
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' => self.attribute(tokens, at, here),
            TokenTree::Ident(word) if word == "use" && !is(next, '<') => {
                let end = end_of_item(tokens, at);
                self.use_tree(&tokens[at + 1..end], &[], here);
                end + 1
            }
            TokenTree::Ident(word) if word == "mod" && next.is_some_and(is_ident) => self.module(tokens, at, here),
            TokenTree::Ident(word) if word == "extern" && next.is_some_and(|next| next.to_string() == "crate") => {
                self.use_tree(&tokens[at + 2..end_of_item(tokens, at)], &[], here);
                end_of_item(tokens, at) + 1
            }
            TokenTree::Ident(_) if colons(tokens, at + 1) => self.path(tokens, at, Vec::new(), here),
            TokenTree::Punct(_) if colons(tokens, at) => {
                let continues = at > 0 && is(tokens.get(at - 1), '>');
                if continues || !tokens.get(at + 2).is_some_and(is_ident) {
                    return at + 2;
                }
                self.path(tokens, at + 2, vec![String::new()], here)
            }
            TokenTree::Group(group) => {
                self.walk(group.stream(), here);
                at + 1
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
        }
    }

    /// `a::b::c` outside of a `use`.
    fn path(&mut self, tokens: &[TokenTree], start: usize, mut segments: Vec<String>, here: &[String]) -> usize {
        let mut at = start;
        segments.push(tokens[at].to_string());
        while colons(tokens, at + 1) && tokens.get(at + 3).is_some_and(is_ident) {
            at += 3;
            segments.push(tokens[at].to_string());
        }
        self.note(&tokens[start], segments, here);
        at + 1
    }

    /// One or more comma-separated trees of a `use`, below `prefix`.
    fn use_tree(&mut self, tokens: &[TokenTree], prefix: &[String], here: &[String]) {
        for tree in tokens.split(|token| is(Some(token), ',')).filter(|tree| !tree.is_empty()) {
            let mut segments = prefix.to_vec();
            if colons(tree, 0) {
                segments.push(String::new());
            }
            let mut alias = None;
            for (at, token) in tree.iter().enumerate() {
                match token {
                    TokenTree::Group(group) => self.use_tree(&tokens_of(group), &segments, here),
                    TokenTree::Ident(word) if word == "as" => {
                        alias = tree.get(at + 1).map(ToString::to_string);
                        break;
                    }
                    TokenTree::Ident(word) if word == "self" && at == 0 && !prefix.is_empty() => {}
                    TokenTree::Ident(word) => segments.push(word.to_string()),
                    TokenTree::Punct(star) if star.as_char() == '*' => segments.push("*".to_owned()),
                    TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                }
            }
            if matches!(tree.last(), Some(TokenTree::Group(_))) {
                continue;
            }
            let name = alias.or_else(|| segments.last().cloned()).unwrap_or_default();
            let segments = self.note(&tree[0], segments, here);
            self.aliases.insert(name, segments);
        }
    }

    /// Notes a path; `crate`, `self`, `super` and the modules declared here are resolved at once.
    fn note(&mut self, first: &TokenTree, mut segments: Vec<String>, here: &[String]) -> Vec<String> {
        let declared = self.modules.contains(&segments[0]);
        if declared || matches!(segments[0].as_str(), "self" | "super") {
            let supers = segments.iter().take_while(|segment| matches!(segment.as_str(), "self" | "super"));
            let (relative, up) = (supers.clone().count(), supers.filter(|segment| *segment == "super").count());
            let base = here[..here.len().saturating_sub(up)].iter().cloned();
            segments = std::iter::once("crate".to_owned()).chain(base).chain(segments.split_off(relative)).collect();
        }
        self.paths.push(Path { line: first.span().start().line, segments: segments.clone() });
        segments
    }

    fn module(&mut self, tokens: &[TokenTree], at: usize, here: &[String]) -> usize {
        let name = tokens[at + 1].to_string();
        self.modules.push(name.clone());
        if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
            self.walk(body.stream(), &[here, &[name]].concat());
        }
        at + 3
    }

    fn attribute(&mut self, tokens: &[TokenTree], at: usize, here: &[String]) -> usize {
        let inner = usize::from(is(tokens.get(at + 1), '!'));
        let Some(TokenTree::Group(group)) = tokens.get(at + 1 + inner) else { return at + 1 };
        let after = at + 2 + inner;
        let words = group.stream().to_string().replace(' ', "");
        if words == "cfg(test)" {
            return self.test_item(tokens, at, after);
        }
        if !words.starts_with("doc=") {
            self.walk(group.stream(), here);
            self.paths_in_texts(group, here);
        }
        after
    }

    /// `#[serde(default = "crate::a::b")]` names a path in a text.
    fn paths_in_texts(&mut self, group: &Group, here: &[String]) {
        for token in group.stream() {
            match &token {
                TokenTree::Group(inner) => self.paths_in_texts(inner, here),
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    let text = text.trim_matches('"');
                    let path = text.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | ':'));
                    if path && text.contains("::") && !text.starts_with(':') {
                        let segments = text.split("::").map(str::to_owned).collect();
                        self.note(&token, segments, here);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    /// What follows `#[cfg(test)]`: left out if it is a module or a `use`, and reported as a switch if not.
    fn test_item(&mut self, tokens: &[TokenTree], start: usize, after: usize) -> usize {
        let line = tokens[start].span().start().line;
        let end = end_of_item(tokens, after);
        let words: Vec<_> = tokens[after..end].iter().map(ToString::to_string).collect();
        let module = words.iter().position(|word| word == "mod");
        if module.is_none() && !words.iter().any(|word| word == "use") {
            self.switches.push(line);
            return after;
        }
        if let Some(name) = module.and_then(|module| words.get(module + 1))
            && is(tokens.get(end), ';')
        {
            self.test_modules.push(name.clone());
        }
        let last = tokens.get(end).map_or(line, |token| token.span().end().line);
        self.code_lines -= last - line + 1;
        end + 1
    }
}

/// Follows the names that the file's own `use` items brought in.
fn resolve(segments: &mut Vec<String>, aliases: &HashMap<String, Vec<String>>) {
    // As deep as aliases of aliases sensibly go; a circle ends here too.
    for _ in 0..8 {
        let Some(target) = aliases.get(&segments[0]) else { break };
        if target[0] == segments[0] {
            break;
        }
        segments.splice(0..1, target.iter().cloned());
    }
    if segments[0].is_empty() {
        segments.remove(0);
    }
}

/// The place of the `;` or of the body that ends the item at `at`. A `use` ends at its `;`, whatever groups it has.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let mut in_use = false;
    let ends = |token: &TokenTree| {
        in_use |= token.to_string() == "use";
        let body = matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        is(Some(token), ';') || (body && !in_use)
    };
    tokens[at..].iter().position(ends).map_or(tokens.len(), |length| at + length)
}

fn tokens_of(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn is_ident(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(_))
}

fn is(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Whether `::` stands at `at`.
fn colons(tokens: &[TokenTree], at: usize) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(first)) if first.as_char() == ':' && first.spacing() == Spacing::Joint)
        && is(tokens.get(at + 1), ':')
}
