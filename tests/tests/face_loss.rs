//! When the driver's face goes, nothing of the driver is shown.

use std::time::Duration;

use deepfake_tests::{decode, footage, init, portrait, pull_frames, run_to_end, Histogram, Picture};

fn reenacted(clip: &std::path::Path, settings: &str) -> Vec<Picture> {
    let mut pictures = Vec::new();
    let element = format!("fomreenact source-location=\"{}\" {settings}", portrait().display());
    pull_frames(&format!("{} ! {element} ! video/x-raw,format=RGB", decode(clip)), |p| pictures.push(p));
    pictures
}

fn still() -> Picture {
    let mut pictures = Vec::new();
    let bypassed = format!("fomreenact bypass=true source-location=\"{}\"", portrait().display());
    pull_frames(&format!("videotestsrc num-buffers=1 ! {bypassed} ! video/x-raw,format=RGB"), |picture| {
        pictures.push(picture)
    });
    pictures.remove(0)
}

/// The statuses that the element posted over a clip, in order, without the one about the backend.
fn statuses(clip: &std::path::Path) -> Vec<String> {
    let element = format!("fomreenact source-location=\"{}\"", portrait().display());
    let ended =
        run_to_end(&format!("{} ! {element} ! fakesink sync=false", decode(clip)), Duration::from_secs(180));
    assert_eq!(ended.error, None);
    ended
        .messages
        .iter()
        .filter(|m| m.name() == "fomreenact-status")
        .map(|m| m.get::<String>("status").unwrap())
        .filter(|status| status != "backend")
        .collect()
}

/// First frame of the part without a face in `face_noface.mov`, with a margin on either side of the cut.
const CUT: usize = 72;
const MARGIN: usize = 10;

#[test]
fn the_last_animated_picture_is_held_when_the_face_goes() {
    init();
    let Some(clip) = footage("face_noface.mov") else { return };
    let output = reenacted(&clip, "on-face-lost=hold");
    assert!(output[10].rgb != output[30].rgb, "animated while there is a face");
    let held = &output[CUT + MARGIN];
    assert!(output[CUT + MARGIN..].iter().all(|p| p.rgb == held.rgb), "held without a face");
    assert!(held.rgb != still().rgb, "the animated picture, not the still portrait");
}

#[test]
fn the_still_portrait_or_black_is_shown_if_asked_for() {
    init();
    let Some(clip) = footage("face_noface.mov") else { return };
    let still = still();
    assert!(reenacted(&clip, "on-face-lost=source")[CUT + MARGIN..].iter().all(|p| p.rgb == still.rgb));
    assert!(reenacted(&clip, "on-face-lost=black")[CUT + MARGIN..]
        .iter()
        .all(|p| p.rgb.iter().all(|&v| v == 0)));
}

#[test]
fn before_the_first_face_and_without_any_the_still_portrait_is_shown() {
    init();
    let (Some(late), Some(never)) = (footage("noface_face.mov"), footage("no_face.mp4")) else { return };
    let still = still();
    let output = reenacted(&late, "");
    assert!(output[..60].iter().all(|p| p.rgb == still.rgb));
    let last = output.len() - 1;
    assert!(
        output[last].rgb != still.rgb && output[last].rgb != output[last - 20].rgb,
        "animated at the end"
    );
    assert!(reenacted(&never, "").iter().all(|p| p.rgb == still.rgb));
}

#[test]
fn no_frame_ever_looks_like_the_driver() {
    init();
    let still = Histogram::of(&still(), None);
    for name in ["face_noface.mov", "noface_face.mov"] {
        let Some(clip) = footage(name) else { return };
        for settings in ["on-face-lost=hold", "on-face-lost=source", "bypass=true"] {
            let mut driver = Vec::new();
            pull_frames(&decode(&clip), |picture| driver.push(Histogram::of(&picture, None)));
            let output = reenacted(&clip, settings);
            assert_eq!(output.len(), driver.len());
            for (index, (picture, driver)) in output.iter().zip(&driver).enumerate() {
                let shown = Histogram::of(picture, None);
                let (ours, theirs) = (shown.distance(&still), shown.distance(driver));
                assert!(
                    ours < theirs,
                    "{name} {settings} frame {index}: {ours} to the portrait, {theirs} to the driver"
                );
            }
        }
    }
}

#[test]
fn the_bus_is_told_when_the_face_comes_and_goes() {
    init();
    let (Some(leaves), Some(comes)) = (footage("face_noface.mov"), footage("noface_face.mov")) else {
        return;
    };
    let without_references =
        |clip| statuses(clip).into_iter().filter(|s| s != "reference").collect::<Vec<_>>();
    assert_eq!(without_references(&leaves), ["face-found", "face-lost"]);
    assert_eq!(without_references(&comes), ["face-found"]);
}

#[test]
fn a_face_in_a_tiny_picture_is_followed() {
    init();
    let Some(clip) = footage("carphone_pristine.mp4") else { return };
    let all = statuses(&clip);
    assert_eq!(all.first().map(String::as_str), Some("face-found"), "{all:?}");
    assert!(!all.contains(&"face-lost".to_owned()), "{all:?}");
    let output = reenacted(&clip, "");
    let moved = output.windows(2).filter(|pair| pair[0].rgb != pair[1].rgb).count();
    assert!(moved * 10 > output.len() * 9, "animated in {moved} of {} frames", output.len());
}
