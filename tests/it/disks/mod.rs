mod cases;
mod changes;
mod malformed_proc_sys;
