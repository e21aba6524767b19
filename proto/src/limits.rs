//! Numbers that bound what users send and what processes hold, with the error code of each.

/// Schedules of one store (`too_many_schedules`).
pub const SCHEDULES_MAX: usize = 10_000;
/// Ticks of one schedule that wait, or are made up for, at the most.
pub const TICKS_WAITING_MAX: usize = 1_000;
/// Labels of one run (`label_invalid`).
pub const LABELS_MAX: usize = 64;
/// The name of a label, in bytes (`label_invalid`).
pub const LABEL_NAME_BYTES_MAX: usize = 63;
/// The text of a label, in bytes (`label_invalid`).
pub const LABEL_TEXT_BYTES_MAX: usize = 256;
/// A job or a registered definition, in bytes (`submission_too_large`).
pub const SUBMISSION_BYTES_MAX: usize = 256 * 1024;
/// One value, in bytes (`value_too_large`).
pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A value up to this many bytes lies inside facts and manifests; a larger one is named by its digest.
pub const INLINE_BYTES_MAX: usize = 1024;
/// A value up to this many bytes travels inside an outcome; a larger one goes by `PUT /values/{digest}` first.
pub const OUTCOME_VALUE_BYTES_MAX: usize = 64 * 1024;
/// A manifest up to this many bytes lies inside its work; a larger one is itself a value.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024;
/// One item of a list, in bytes (`item_too_large`).
pub const ITEM_BYTES_MAX: usize = 256 * 1024;
/// Items in one task (`too_many_items`).
pub const ITEMS_MAX: u32 = 1_000_000;
/// A part of an item list, in bytes; a longer list is several parts.
pub const PART_BYTES_MAX: usize = 1024 * 1024;
/// Items in one range.
pub const RANGE_ITEMS_MAX: u32 = 1_000;
/// Items of one range together, in bytes.
pub const RANGE_BYTES_MAX: usize = 512 * 1024;
/// Task instances in one run (`too_many_tasks`).
pub const TASKS_MAX: u32 = 100_000;
/// Signals that a run stores (`too_many_signals`).
pub const SIGNALS_MAX: usize = 1_000;
/// Runs around a child run (`nested_too_deep`).
pub const NESTING_MAX: u8 = 16;
/// Children of one task with items that run at once, whatever its `concurrency`.
pub const CHILDREN_MAX: u32 = 512;
/// Children of one task that a view of its run names.
pub const CHILDREN_SHOWN_MAX: usize = 100;
/// Any message on a queue, in bytes, checked before it is parsed (`message_too_large`).
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Nesting of arrays and objects, checked before parsing (`json_too_deep`).
pub const JSON_DEPTH_MAX: usize = 128;
/// Nesting of one value of a user: less, since it travels inside our messages (`json_too_deep`).
pub const VALUE_DEPTH_MAX: usize = JSON_DEPTH_MAX - 16;
/// Source of one template, in bytes (`template_too_large`).
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// One rendered string, in bytes (`output_too_large`).
pub const RENDERED_BYTES_MAX: usize = 16 * 1024 * 1024;
