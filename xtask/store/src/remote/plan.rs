//! What has to be done so that a remote holds what the store holds: a pure decision over what is here, what is
//! there, and what is known of it.

use crate::base::digest::Digest;
use crate::base::id::BackupId;
use crate::names::{ARCHIVE, SUM};
use crate::remote_state::RemoteState;

use super::Listing;

/// A backup that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Which one.
    pub id: BackupId,
    /// Bytes of its archive.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
    /// Whether it is pinned.
    pub pinned: bool,
}

/// What has to be done about one backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is there and was read back.
    Nothing,
    /// It is there and was read back, but not with the same pin.
    Pin,
    /// It is there, but nobody read it back yet; its digest file may be missing.
    Confirm {
        /// Whether to write what stands beside it.
        beside: bool,
    },
    /// It is not there.
    Upload {
        /// It was there.
        lost: bool,
    },
    /// Something else of this name is there, of another size.
    Differs {
        /// How many bytes it has there.
        bytes: u64,
    },
}

/// What to do, backup by backup. `again` reads back what was read back already.
pub fn plan(here: &[Here], there: &Listing, known: &RemoteState, again: bool) -> Vec<Step> {
    here.iter().map(|here| step(here, there, known, again)).collect()
}

fn step(here: &Here, there: &Listing, known: &RemoteState, again: bool) -> Step {
    let known = known.find(&here.id);
    let Some(&bytes) = there.get(&format!("{}{ARCHIVE}", here.id)) else {
        return Step::Upload { lost: known.is_some_and(|known| known.confirmed.is_some()) };
    };
    if bytes != here.bytes {
        return Step::Differs { bytes };
    }
    let beside = !there.contains_key(&format!("{}{SUM}", here.id));
    let confirmed = known.filter(|known| known.sha256 == Some(here.digest) && known.damage.is_none());
    match confirmed {
        Some(_) if beside || again => Step::Confirm { beside },
        Some(known) if known.pinned != here.pinned => Step::Pin,
        Some(_) => Step::Nothing,
        None => Step::Confirm { beside },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Instant;
    use crate::remote_state::RemoteBackup;

    #[test]
    fn each_case_has_one_step() {
        let id: BackupId = "20251201_120000".parse().unwrap();
        let digest = Digest::of(b"x");
        let here = Here { id: id.clone(), bytes: 5, digest, pinned: false };
        let there = |bytes: u64| -> Listing {
            [("20251201_120000.tar.gz".to_owned(), bytes), ("20251201_120000.tar.gz.sha256".to_owned(), 80)]
                .into()
        };
        let known = |sha256: Option<Digest>, pinned: bool, damage: Option<&str>| {
            let mut state = RemoteState::default();
            let damage = damage.map(str::to_owned);
            state.put(RemoteBackup {
                id: id.clone(),
                bytes: 5,
                sha256,
                confirmed: sha256.map(|_| Instant(0)),
                pinned,
                damage,
            });
            state
        };
        let nothing = RemoteState::default();
        let good = || known(Some(digest), false, None);
        let bare: Listing = [("20251201_120000.tar.gz".to_owned(), 5)].into();
        for (there, known, again, expected) in [
            (Listing::new(), nothing.clone(), false, Step::Upload { lost: false }),
            (Listing::new(), good(), false, Step::Upload { lost: true }),
            (there(4), good(), false, Step::Differs { bytes: 4 }),
            (there(5), good(), false, Step::Nothing),
            (there(5), good(), true, Step::Confirm { beside: false }),
            (there(5), nothing, false, Step::Confirm { beside: false }),
            (there(5), known(None, false, None), false, Step::Confirm { beside: false }),
            (there(5), known(Some(Digest::of(b"y")), false, None), false, Step::Confirm { beside: false }),
            (there(5), known(Some(digest), false, Some("bad")), false, Step::Confirm { beside: false }),
            (there(5), known(Some(digest), true, None), false, Step::Pin),
            (bare, good(), false, Step::Confirm { beside: true }),
        ] {
            let steps = plan(std::slice::from_ref(&here), &there, &known, again);
            assert_eq!(steps, [expected], "{there:?} {known:?} {again}");
        }
    }
}
