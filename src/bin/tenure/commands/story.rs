//! The output of the demo: numbered steps, with facts below them.
//!
//! Owns: the form: text as it happens, or one JSON document at the end; what all parts of the demo speak of.

use serde_json::{Value, json};

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;

/// The set for the records.
pub const SET: &str = "packages";

/// What the demo found is not what it made.
pub fn unexpected(message: String) -> Failure {
    Failure::new(Exit::Failed, message, "this is a bug: please report it")
}

/// The output so far.
pub struct Story {
    out: Output,
    steps: Option<Vec<Value>>,
    number: u32,
}

impl Story {
    pub fn new(json: bool) -> Outcome<Self> {
        Ok(Self { out: Output::stdout()?, steps: json.then(Vec::new), number: 0 })
    }

    /// Begins a step.
    pub fn step(&mut self, title: &str, explanation: &str) -> Outcome {
        self.number += 1;
        if let Some(steps) = &mut self.steps {
            steps.push(json!({ "step": self.number, "title": title, "explanation": explanation, "facts": [] }));
            return Ok(());
        }
        self.out.line(&format!("{}. {title}. {explanation}", self.number))?;
        self.out.flush()
    }

    /// Tells what happened in the step.
    pub fn fact(&mut self, text: &str) -> Outcome {
        if let Some(steps) = &mut self.steps {
            if let Some(Value::Array(facts)) = steps.last_mut().and_then(|step| step.get_mut("facts")) {
                facts.push(Value::from(text));
            }
            return Ok(());
        }
        self.out.line(&format!("   {text}"))?;
        self.out.flush()
    }

    /// A closing remark for people.
    pub fn note(&mut self, text: &str) -> Outcome {
        if self.steps.is_some() { Ok(()) } else { self.out.line(text) }
    }

    pub fn finish(mut self) -> Outcome {
        if let Some(steps) = self.steps.take() {
            self.out.json(&json!({ "steps": steps }))?;
        }
        self.out.finish()
    }
}
