//! Pools of CUDA memory.

use gst::{glib::translate::*, prelude::*};
use gst_video::VideoInfo;

use super::context::Context;

/// A pool of frames of `caps` in CUDA memory, configured, and the size of its buffers, which includes the padding of
/// their rows.
///
/// # Errors
/// If the GPU's memory does not hold a frame more, or the caps are none of CUDA memory.
pub fn new(
    context: &Context,
    caps: &gst::Caps,
    min_buffers: u32,
) -> Result<(gst::BufferPool, u32), gst::glib::BoolError> {
    let info = VideoInfo::from_caps(caps)?;
    // SAFETY: the context is live; what is returned is a reference of our own.
    let pool: Option<gst::BufferPool> =
        unsafe { from_glib_full((context.library().cuda_buffer_pool_new)(context.as_ptr())) };
    let pool = pool.ok_or_else(|| gst::glib::bool_error!("no pool of CUDA memory can be made"))?;
    let mut config = pool.config();
    config.set_params(Some(caps), u32::try_from(info.size()).unwrap_or(u32::MAX), min_buffers, 0);
    config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META.as_ref());
    pool.set_config(config)?;
    // The pool knows the rows' padding.
    let size = pool.config().params().map_or(0, |(_, size, ..)| size);
    Ok((pool, size))
}

/// For `propose_allocation`: offers upstream a pool for frames of the query's caps, if it wants one.
///
/// # Errors
/// As [`new`].
pub fn propose(context: &Context, query: &mut gst::query::Allocation) -> Result<(), gst::glib::BoolError> {
    let (caps, wanted) = query.get_owned();
    let caps = caps.ok_or_else(|| gst::glib::bool_error!("a query for memory without caps"))?;
    if wanted {
        let (pool, size) = new(context, &caps, 0)?;
        query.add_allocation_pool(Some(&pool), size, 0, 0);
    }
    Ok(())
}

/// For `decide_allocation`: frames go out in memory of a pool of `context`. Of what downstream proposes only the least
/// number of buffers is taken: its pool may be of another context, and spares no copy.
///
/// # Errors
/// As [`new`].
pub fn decide(context: &Context, query: &mut gst::query::Allocation) -> Result<(), gst::glib::BoolError> {
    let (caps, _) = query.get_owned();
    let caps = caps.ok_or_else(|| gst::glib::bool_error!("a query for memory without caps"))?;
    let proposed = query.allocation_pools().next().map(|(_, _, min_buffers, _)| min_buffers);
    let min_buffers = proposed.unwrap_or(0);
    let (pool, size) = new(context, &caps, min_buffers)?;
    match proposed {
        Some(_) => query.set_nth_allocation_pool(0, Some(&pool), size, min_buffers, 0),
        None => query.add_allocation_pool(Some(&pool), size, min_buffers, 0),
    }
    Ok(())
}
