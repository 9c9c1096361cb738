mod trusted_files;
