mod crash_safety;
mod readers;
