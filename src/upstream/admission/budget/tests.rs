//! The promises of the budget, one by one, against a model, and with five gateways on one token.

mod gateways;

use super::*;

const SPACES: [&str; 3] = ["spc-a", "spc-b", "spc-c"];

fn places(token: &str, space: usize) -> Places {
    Places { token: token.into(), operation: "get", space: SpaceId::parse(SPACES[space]).unwrap() }
}
