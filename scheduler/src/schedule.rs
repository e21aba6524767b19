//! Schedules.
mod timetable;
