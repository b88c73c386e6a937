//! Visits every state of a model and says what was found, in words.

use std::fmt;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// A model whose steps and states can be told to people.
pub trait Told: Model {
    /// One line about `action` as it happens in `state`.
    fn tell(&self, state: &Self::State, action: &Self::Action) -> String;

    /// The state, in a few lines.
    fn show(&self, state: &Self::State) -> String;
}

/// What exploring a model found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Different states.
    pub states: usize,
    /// Steps of the longest of the shortest ways.
    pub depth: usize,
    /// Properties that do not hold, each with a way to where it does not.
    pub failures: Vec<(&'static str, Vec<String>)>,
    /// What should be possible and is.
    pub reached: Vec<&'static str>,
    /// What should be possible and is not.
    pub unreached: Vec<&'static str>,
}

impl Found {
    /// The way to where the property called `name` does not hold, if there is one.
    pub fn failure(&self, name: &str) -> Option<&[String]> {
        let mut ways = self.failures.iter();
        ways.find_map(|(failed, steps)| (*failed == name).then_some(&steps[..]))
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} states, up to {} steps deep", self.states, self.depth)?;
        for name in &self.reached {
            writeln!(f, "possible: {name}")?;
        }
        // Nothing can be said of what was not visited.
        let complete = self.failures.is_empty();
        for name in self.unreached.iter().filter(|_| complete) {
            writeln!(f, "NOT POSSIBLE: {name}")?;
        }
        for (name, steps) in &self.failures {
            writeln!(f, "\nDOES NOT HOLD: {name}")?;
            for (index, step) in steps.iter().enumerate() {
                writeln!(f, "{:3}. {step}", index + 1)?;
            }
        }
        Ok(())
    }
}

/// Visits every state, or all up to the first where something does not hold: anything, or the property
/// called `sought`.
pub fn explore<M>(model: M, sought: Option<&'static str>) -> Found
where
    M: Told + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync,
    M::Action: Clone + PartialEq,
{
    let properties = model.properties();
    // One thread: with a second, chance would decide which way is found.
    let until = match sought {
        Some(name) => HasDiscoveries::AnyOf([name].into()),
        None => HasDiscoveries::AnyFailures,
    };
    let checker = model.checker().finish_when(until).spawn_bfs().join();
    let mut found = Found {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        failures: Vec::new(),
        reached: Vec::new(),
        unreached: Vec::new(),
    };
    for property in properties {
        let wanted = property.expectation == Expectation::Sometimes;
        match checker.discovery(property.name) {
            Some(_) if wanted => found.reached.push(property.name),
            Some(path) => {
                let steps = tell(checker.model(), path.into_vec());
                found.failures.push((property.name, steps));
            }
            None if wanted => found.unreached.push(property.name),
            None => {}
        }
    }
    found
}

fn tell<M: Told>(model: &M, path: Vec<(M::State, Option<M::Action>)>) -> Vec<String> {
    let told = path.into_iter().map(|(state, action)| match action {
        Some(action) => model.tell(&state, &action),
        None => model.show(&state),
    });
    told.collect()
}
