//! Which bearer tokens are accepted, and by which number each is known.
//!
//! Owns the texts: whoever counts by token, or tells of one, has its number. Refuses to number a token anew that comes
//! back, so that its limits and its calls stay its own over a rotation.

use aws_lc_rs::constant_time::verify_slices_are_equal;

/// Tokens that are remembered, beyond those that are accepted: more rotations than a test has.
const MAX_RETIRED: usize = 1024;

/// Every token that was accepted, the oldest first.
#[derive(Default)]
pub(super) struct Tokens {
    known: Vec<Known>,
    next: usize,
}

struct Known {
    number: usize,
    text: String,
    accepted: bool,
}

impl Tokens {
    /// Accepts these and no others. A token that is new takes the next number.
    pub(super) fn accept(&mut self, tokens: Vec<String>) {
        for known in &mut self.known {
            known.accepted = tokens.contains(&known.text);
        }
        for text in tokens {
            if !self.known.iter().any(|known| known.text == text) {
                self.known.push(Known { number: self.next, text, accepted: true });
                self.next += 1;
            }
        }
        let mut surplus = self.known.iter().filter(|known| !known.accepted).count().saturating_sub(MAX_RETIRED);
        self.known.retain(|known| {
            let goes = surplus > 0 && !known.accepted;
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// The number of the accepted token that was presented.
    pub(super) fn number(&self, presented: &str) -> Option<usize> {
        let equal = |known: &&Known| verify_slices_are_equal(presented.as_bytes(), known.text.as_bytes()).is_ok();
        self.known.iter().filter(|known| known.accepted).find(equal).map(|known| known.number)
    }

    /// The token of this number, unless it was forgotten.
    pub(super) fn text(&self, number: usize) -> Option<&str> {
        self.known.iter().find(|known| known.number == number).map(|known| known.text.as_str())
    }

    /// Whether `text` holds a token, one of these or any of Monime's, whose tokens begin with `mon_`: applications
    /// have put theirs anywhere.
    pub(super) fn may_stand_in(&self, text: &str) -> bool {
        text.contains("mon_") || self.known.iter().any(|known| text.contains(&known.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(tokens: &[&str]) -> Tokens {
        let mut all = Tokens::default();
        all.accept(owned(tokens));
        all
    }

    fn owned(tokens: &[&str]) -> Vec<String> {
        tokens.iter().copied().map(str::to_owned).collect()
    }

    #[test]
    fn a_token_keeps_its_number_over_rotations() {
        let mut tokens = accepting(&["a"]);
        let numbers = |tokens: &Tokens| ["a", "b", "c"].map(|token| tokens.number(token));
        assert_eq!(numbers(&tokens), [Some(0), None, None]);
        tokens.accept(owned(&["b", "a", "b"]));
        assert_eq!(numbers(&tokens), [Some(0), Some(1), None]);
        tokens.accept(owned(&["b"]));
        assert_eq!(numbers(&tokens), [None, Some(1), None]);
        tokens.accept(owned(&["c", "a"]));
        assert_eq!(numbers(&tokens), [Some(0), None, Some(2)]);
        tokens.accept(Vec::new());
        assert_eq!(numbers(&tokens), [None; 3]);
        assert_eq!([tokens.text(1), tokens.text(3)], [Some("b"), None]);
    }

    #[test]
    fn a_retired_token_is_still_a_secret() {
        let mut tokens = accepting(&["canary"]);
        tokens.accept(owned(&["other"]));
        assert!(tokens.may_stand_in("a canary b") && tokens.may_stand_in("mon_live_real"));
        assert!(!tokens.may_stand_in("scs-1"));
    }

    #[test]
    fn the_longest_retired_are_forgotten_and_their_numbers_not_given_again() {
        let mut tokens = accepting(&["kept"]);
        for turn in 0..2 * MAX_RETIRED {
            tokens.accept(vec!["kept".to_owned(), format!("token-{turn}")]);
        }
        assert_eq!(tokens.known.len(), MAX_RETIRED + 2);
        assert_eq!((tokens.number("kept"), tokens.text(1)), (Some(0), None));
        tokens.accept(owned(&["token-0"]));
        assert_eq!(tokens.number("token-0"), Some(2 * MAX_RETIRED + 1));
    }
}
