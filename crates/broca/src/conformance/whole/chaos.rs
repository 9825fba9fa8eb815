//! Mischief at random, from a seed.

use broca_rehearsal::platform::PlatformScript;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::{Played, mischief::Mischief, stage::Stage};
use crate::{conformance::verdict::Checked, failure::Failure};

/// Beyond one of each.
const MORE: usize = 4;

/// What became of it, and what was done.
pub(super) async fn run(stage: &mut Stage, seed: u64) -> Result<(Checked, Vec<String>), Failure> {
    let mut random = StdRng::seed_from_u64(seed);
    let plan = plan(&mut random, stage.platform.scripted().is_ok());
    let done = plan.iter().map(|mischief| mischief.name().to_owned()).collect();
    for mischief in plan {
        // Before, behind, or between two messages of everybody.
        let (before, behind) = (random.random_range(1..=2), random.random_range(0..=1));
        if let Err(trouble) = stage.everybody_says(before).await {
            return Ok((Err(trouble), done));
        }
        mischief.happens(stage).await?;
        if let Err(trouble) = stage.everybody_says(behind).await {
            return Ok((Err(trouble), done));
        }
    }
    // A platform that is away in the moment in which it is asked leaves an answer unknown.
    let ended: Played = stage.judged(true).await;
    stage.platform.script(|script| *script = PlatformScript::default());
    Ok((ended?, done))
}

/// Each kind once, and a few more, in any order.
fn plan(random: &mut StdRng, scripted: bool) -> Vec<Mischief> {
    let able: Vec<Mischief> =
        Mischief::ALL.into_iter().filter(|mischief| scripted || mischief.needs_no_script()).collect();
    let more: Vec<Mischief> = (0..MORE).map(|_| able[random.random_range(0..able.len())]).collect();
    let mut plan = [able, more].concat();
    plan.shuffle(random);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_plan_and_every_kind_is_in_it() {
        let of = |seed| plan(&mut StdRng::seed_from_u64(seed), true);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert!(Mischief::ALL.iter().all(|mischief| of(7).contains(mischief)));
        assert!(plan(&mut StdRng::seed_from_u64(7), false).iter().all(|mischief| mischief.needs_no_script()));
    }
}
