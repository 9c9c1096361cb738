mod hostile_log_and_reads;
mod hostile_output_dir;
