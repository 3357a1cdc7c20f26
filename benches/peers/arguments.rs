//! The command line of this bench. Refuses what it does not know, with a list of what there is.

use std::path::PathBuf;

use super::case::Case;

/// What is asked for.
pub(crate) struct Arguments {
    pub(crate) cases: Vec<Case>,
    pub(crate) rounds: u32,
    /// Of each round and contender.
    pub(crate) seconds: u32,
    /// Whether a missing tool is a failure.
    pub(crate) require_all: bool,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    /// With the figure that instructions are held to.
    pub(crate) held: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self {
            cases: Vec::new(),
            rounds: 15,
            seconds: 2,
            require_all: false,
            markdown: None,
            svg: None,
            held: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
            match argument.as_str() {
                // Cargo's own word.
                "--bench" => {}
                "--case" => asked.cases.push(case(&value()?)?),
                "--rounds" => asked.rounds = number(&value()?)?,
                "--seconds" => asked.seconds = number(&value()?)?,
                "--require-all" => asked.require_all = true,
                "--markdown" => asked.markdown = Some(value()?.into()),
                "--svg" => asked.svg = Some(value()?.into()),
                "--held" => asked.held = Some(value()?.into()),
                _ => return Err(format!("{argument:?} is not understood; {}", usage())),
            }
        }
        if asked.cases.is_empty() {
            asked.cases = Case::ALL.into();
        }
        Ok(asked)
    }
}

fn usage() -> String {
    let names = Case::ALL.map(Case::name).join(", ");
    format!(
        "there are --rounds N, --seconds N (of each round and server), --require-all, --markdown FILE, --svg FILE, --held FILE \
         (what instructions may grow to), and \
         --case NAME, which may be repeated: {names}"
    )
}

fn case(name: &str) -> Result<Case, String> {
    let found = Case::ALL.into_iter().find(|case| case.name() == name);
    found.ok_or_else(|| format!("no case is called {name:?}; {}", usage()))
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| (1..=1000).contains(number)).ok_or_else(|| format!("{text:?} is not 1 to 1000"))
}
