//! Networks and what their numbers mean.
//!
//! * [`manifest`]: one TOML file describes a model; [`zoo`] finds it.
//! * [`engine`]: a network ready to run, whatever runs it.
//! * [`face`]: faces in a frame, their landmarks, and which is which over time.
//! * [`reenact`]: a portrait animated by a driving video.
//! * [`detect`]: how likely a face was synthesised.
//!
//! Nothing here knows of GStreamer.

pub mod detect;
pub mod engine;
mod error;
pub mod face;
pub mod manifest;
pub mod reenact;
mod timing;
pub mod zoo;

pub use error::{Error, Result, MODEL_PATH_VARIABLE, RUNTIME_VARIABLE};
pub use timing::{Stage, StageTimes};
