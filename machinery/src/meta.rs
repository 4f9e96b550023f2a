//! Small readers and writers of object metadata in JSON trees.
