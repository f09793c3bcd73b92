//! The detector on real footage, and on what we make of it.

use std::time::Duration;

use deepfake_tests::{decode, footage, init, portrait, run_to_end};

/// Lines of the report of `deepfakedetect` with `settings` at the end of `description`.
fn report(description: &str, settings: &str) -> Vec<serde_json::Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.jsonl");
    let element = format!("deepfakedetect report-location=\"{}\" {settings}", path.display());
    let ended =
        run_to_end(&format!("{description} ! {element} ! fakesink sync=false"), Duration::from_secs(180));
    assert_eq!(ended.error, None);
    std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mean_score(report: &[serde_json::Value]) -> f64 {
    report.last().unwrap()["mean"].as_f64().expect("a face was scored")
}

#[test]
fn real_faces_of_footage_are_called_real() {
    init();
    let (Some(a), Some(b)) = (footage("face_noface.mov"), footage("WolfgangLanger_Pexels.mp4")) else {
        return;
    };
    for clip in [a, b] {
        let report = report(&decode(&clip), "interval=4");
        assert_eq!(report.last().unwrap()["verdict"], "real", "{}", clip.display());
    }
}

#[test]
fn our_own_reenactment_scores_higher_than_its_driver() {
    init();
    let Some(clip) = footage("WolfgangLanger_Pexels.mp4") else { return };
    let real = mean_score(&report(&decode(&clip), "interval=4"));
    let element = format!("fomreenact source-location=\"{}\"", portrait().display());
    let fake = report(&format!("{} ! {element}", decode(&clip)), "interval=4");
    println!("real {real:.3}, reenacted {:.3}", mean_score(&fake));
    assert!(mean_score(&fake) > real + 0.1, "real {real}, reenacted {}", mean_score(&fake));
    let frames = &fake[..fake.len() - 1];
    assert!(frames.iter().all(|f| f["faces"].as_array().unwrap().iter().all(|face| face["marked"] == true)));
}

#[test]
fn without_a_face_there_is_no_score_and_no_verdict() {
    init();
    let Some(clip) = footage("no_face.mp4") else { return };
    let report = report(&decode(&clip), "");
    let (summary, frames) = report.split_last().unwrap();
    assert!(frames.iter().all(|f| f["faces"].as_array().unwrap().is_empty()));
    assert!(summary["mean"].is_null() && summary["verdict"].is_null(), "{summary}");
}

#[test]
fn each_face_of_a_group_gets_its_own_track() {
    init();
    let Some(picture) = footage("multi_face.jpg") else { return };
    let report = report(&decode(&picture), "max-faces=16");
    let faces = report[0]["faces"].as_array().unwrap();
    let mut ids: Vec<_> = faces.iter().map(|f| f["track-id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "{report:?}");
}

#[test]
fn a_face_is_scored_as_often_as_the_interval_says_and_stale_in_between() {
    init();
    let Some(clip) = footage("carphone_pristine.mp4") else { return };
    let report = report(&decode(&clip), "interval=5 min-face-size=32");
    let (_, frames) = report.split_last().unwrap();
    let stale: Vec<bool> = frames.iter().map(|f| f["faces"][0]["stale"].as_bool().unwrap()).collect();
    assert_eq!(stale.len(), 120);
    assert_eq!(stale.iter().filter(|s| !**s).count(), 24, "{stale:?}");
}
