//! The examples in `pipelines`: what they write, and that they spoil nothing when they fail.

// Both examples have the module that they share, and so has this.
#![allow(clippy::duplicate_mod)]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use deepfake_tests::{decode, init, portrait, run_to_end};
use gst::prelude::*;

// Without their `main`.
#[allow(dead_code)]
#[path = "../../pipelines/compare.rs"]
mod compare;
#[allow(dead_code)]
#[path = "../../pipelines/demo.rs"]
mod demo;
#[allow(dead_code)]
#[path = "../../pipelines/playing.rs"]
mod playing;

const FRAMES: usize = 6;
/// More than are animated before the user loses patience.
const MANY_FRAMES: usize = 3000;
/// What an earlier run wrote.
const EARLIER: &str = "an earlier video";
/// Said by a pipeline that holds on to its streaming thread.
const STUCK: &str = "stuck from here on";

/// Runs an example; what went wrong, if anything did. One that hangs is a failure.
fn run_example(example: &'static str, words: Vec<String>) -> Result<(), String> {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || {
        let result = match example {
            "compare" => compare::run(words.into_iter()).map_err(|e| e.to_string()),
            _ => demo::run(words.into_iter().map(Into::into)).map_err(|e| e.to_string()),
        };
        done.send(result)
    });
    wait.recv_timeout(Duration::from_secs(120)).expect("the example ends")
}

fn words(options: &[(&str, &Path)]) -> Vec<String> {
    options
        .iter()
        .flat_map(|(option, path)| [(*option).to_owned(), path.to_str().unwrap().to_owned()])
        .collect()
}

fn run_compare(driver: &Path, out: &Path) -> Result<(), String> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let options = [
        ("--driver", driver),
        ("--portrait", &portrait()),
        ("--x2face", &models.join("tests/data/x2face-smallest")),
        ("--fomm", &models.join("zoo/fomm-lite")),
        ("--out", out),
    ];
    run_example("compare", words(&options))
}

fn run_demo(driver: &Path, out: &Path) -> Result<(), String> {
    run_example("demo", words(&[("--driver", driver), ("--portrait", &portrait()), ("--out", out)]))
}

fn write(description: &str, path: &Path) {
    let description = format!("{description} ! mp4mux ! filesink location=\"{}\"", path.display());
    assert_eq!(run_to_end(&description, Duration::from_secs(60)).error, None);
}

/// Some frames of a face, which stays still.
fn write_clip(path: &Path, frames: usize) {
    let face =
        format!("filesrc location=\"{}\" ! jpegdec ! imagefreeze num-buffers={frames}", portrait().display());
    let caps = "video/x-raw,format=I420,width=480,height=360,pixel-aspect-ratio=1/1,framerate=25/1";
    write(
        &format!("{face} ! videoconvert ! videoscale ! {caps} ! x264enc speed-preset=ultrafast ! h264parse"),
        path,
    );
}

fn write_sound(path: &Path) {
    write("audiotestsrc num-buffers=40 ! audioconvert ! voaacenc ! aacparse", path);
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn frames_in(video: &Path) -> usize {
    let mut frames = 0;
    deepfake_tests::pull_frames(&decode(video), |_| frames += 1);
    frames
}

/// A folder with a file in it.
fn folder_with(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn compare_writes_one_video_over_an_earlier_one() {
    let (folder, out) = folder_with("out.mp4", EARLIER);
    let driver = folder.path().join("driver.mp4");
    write_clip(&driver, FRAMES);
    run_compare(&driver, &out).unwrap();
    assert_eq!(frames_in(&out), FRAMES);
    assert_eq!(names_in(folder.path()), ["driver.mp4", "out.mp4"]);
}

#[test]
fn demo_writes_its_files_and_leaves_no_others() {
    let (folder, driver) = folder_with("driver.mp4", "");
    write_clip(&driver, FRAMES);
    let out = folder.path().join("out");
    run_demo(&driver, &out).unwrap();
    assert_eq!(names_in(&out), ["detect.jsonl", "detect.mp4", "reenact.mp4", "reenacted.mp4"]);
    for video in ["detect.mp4", "reenact.mp4", "reenacted.mp4"] {
        assert_eq!(frames_in(&out.join(video)), FRAMES, "{video}");
    }
    let report = fs::read_to_string(out.join("detect.jsonl")).unwrap();
    for clip in ["real", "reenacted"] {
        let of_clip = report.lines().filter(|line| line.contains(&format!("\"clip\":\"{clip}\"")));
        assert_eq!(of_clip.filter(|line| line.contains("\"faces\"")).count(), FRAMES, "{clip}");
    }
}

#[test]
fn an_output_does_not_take_the_place_of_an_input() {
    let (folder, video) = folder_with("reenact.mp4", EARLIER);
    let link = folder.path().join("link.mp4");
    std::os::unix::fs::symlink(&video, &link).unwrap();
    let refusals = [
        run_compare(&video, &video),
        run_compare(&video, &link),
        run_compare(&link, &video),
        run_demo(&video, folder.path()),
    ];
    for refusal in refusals {
        assert!(refusal.as_ref().is_err_and(|e| e.contains("both read and written")), "{refusal:?}");
        assert_eq!(fs::read_to_string(&video).unwrap(), EARLIER);
    }
}

#[test]
fn the_unfinished_file_does_not_take_the_place_of_an_input() {
    let (folder, video) = folder_with("out.mp4.part", EARLIER);
    let refusal = run_compare(&video, &folder.path().join("out.mp4"));
    assert!(refusal.as_ref().is_err_and(|e| e.contains("both read and written")), "{refusal:?}");
    assert_eq!(fs::read_to_string(&video).unwrap(), EARLIER);
}

#[test]
fn a_folder_is_refused_before_anything_runs() {
    let (folder, driver) = folder_with("driver.mp4", EARLIER);
    let refusal = run_compare(&driver, folder.path());
    assert!(refusal.as_ref().is_err_and(|e| e.contains("is not a file")), "{refusal:?}");
}

#[test]
fn a_run_that_fails_leaves_an_earlier_video_alone() {
    let (folder, out) = folder_with("reenact.mp4", EARLIER);
    let driver = folder.path().join("driver.mp4");
    fs::write(&driver, "no video").unwrap();
    for failure in [run_compare(&driver, &out), run_demo(&driver, folder.path())] {
        assert!(failure.is_err());
        assert_eq!(fs::read_to_string(&out).unwrap(), EARLIER);
        assert_eq!(names_in(folder.path()), ["driver.mp4", "reenact.mp4"]);
    }
}

#[test]
fn a_driver_of_sound_alone_is_refused() {
    let (folder, out) = folder_with("reenact.mp4", EARLIER);
    let driver = folder.path().join("driver.mp4");
    write_sound(&driver);
    for failure in [run_compare(&driver, &out), run_demo(&driver, folder.path())] {
        assert!(
            failure.as_ref().is_err_and(|e| e.contains("the driver has no video that can be decoded")),
            "{failure:?}"
        );
        assert_eq!(fs::read_to_string(&out).unwrap(), EARLIER);
        assert_eq!(names_in(folder.path()), ["driver.mp4", "reenact.mp4"]);
    }
}

#[test]
fn a_run_that_is_interrupted_cleans_up_and_leaves_an_earlier_video_alone() {
    let (folder, out) = folder_with("out.mp4", EARLIER);
    write_clip(&folder.path().join("driver.mp4"), MANY_FRAMES);
    for signal in ["-INT", "-TERM"] {
        let mut running = Command::new(env::current_exe().unwrap())
            .args(["--exact", "long_comparison", "--ignored", "--nocapture"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !folder.path().join("out.mp4.part").exists() {
            let runs = running.try_wait().unwrap().is_none();
            assert!(runs && begun.elapsed() < Duration::from_secs(60), "nothing is written");
            thread::sleep(Duration::from_millis(50));
        }
        let killed = Command::new("kill").args([signal, &running.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let output = running.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("interrupted") && output.status.code().is_some(), "{said}");
        assert_eq!(fs::read_to_string(&out).unwrap(), EARLIER);
        assert_eq!(names_in(folder.path()), ["driver.mp4", "out.mp4"]);
    }
}

#[test]
fn a_second_interrupt_ends_a_run_that_cannot_be_stopped() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut running = Command::new(env::current_exe().unwrap())
            .args(["--exact", "run_that_cannot_be_stopped", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(running.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.is_ok_and(|line| line.contains(STUCK))), "it did not begin");
        let kill = |id: u32| Command::new("kill").args([signal, &id.to_string()]).status().unwrap();
        assert!(kill(running.id()).success());
        thread::sleep(Duration::from_secs(1));
        assert!(running.try_wait().unwrap().is_none(), "the first wish is not to end it at once");
        assert!(kill(running.id()).success());
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = running.try_wait().unwrap() {
                break status;
            }
            if asked.elapsed() > Duration::from_secs(30) {
                running.kill().unwrap();
                panic!("it does not end");
            }
            thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(status.code(), Some(code));
    }
}

#[test]
#[ignore = "run by a_second_interrupt… in a process of its own"]
fn run_that_cannot_be_stopped() {
    init();
    let pipeline = playing::launch("videotestsrc ! identity name=stuck ! fakesink").unwrap();
    let pad = playing::static_pad(&pipeline, "stuck", "sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, |_, _| {
        println!("{STUCK}");
        // Longer than the test waits; stopping the pipeline waits for it.
        thread::sleep(Duration::from_secs(120));
        gst::PadProbeReturn::Ok
    });
    let _ = playing::play(&pipeline, "stuck", &["stuck"]);
}

#[test]
#[ignore = "run by a_run_that_is_interrupted… in a process of its own"]
fn long_comparison() {
    init();
    run_compare(Path::new("driver.mp4"), Path::new("out.mp4")).unwrap();
}
