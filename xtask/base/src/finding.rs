//! What a user should know although the work went on. A *problem* is something of the project that is not
//! in the backup or can't come back (exit 3); *advice* is everything else (exit 0).

use serde::{Deserialize, Serialize};

use super::safe_path::SafePath;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something is not protected: exit 3.
    Problem,
    /// Worth knowing: exit 0.
    Advice,
}

/// One finding. `code` is stable and meant for scripts (`file-changed`, `shallow-clone`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Problem or advice.
    pub level: Level,
    /// A stable word for scripts.
    pub code: String,
    /// One sentence, without a full stop, that names what happened.
    pub message: String,
    /// The path inside the project, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<SafePath>,
    /// The next thing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// A problem.
    pub fn problem(code: &str, message: impl Into<String>) -> Finding {
        Finding {
            level: Level::Problem,
            code: code.to_owned(),
            message: message.into(),
            path: None,
            hint: None,
        }
    }

    /// Advice.
    pub fn advice(code: &str, message: impl Into<String>) -> Finding {
        Finding { level: Level::Advice, ..Finding::problem(code, message) }
    }

    /// Names the path it is about.
    #[must_use]
    pub fn at(mut self, path: &SafePath) -> Finding {
        self.path = Some(path.clone());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it makes the run end with exit 3.
    pub fn is_problem(&self) -> bool {
        self.level == Level::Problem
    }
}
