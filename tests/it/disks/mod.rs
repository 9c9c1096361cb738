mod backing;
mod cases;
mod malformed_proc_sys;
mod names;
