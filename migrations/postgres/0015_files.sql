-- What came with a message beside its text: an array of facts about each file, and the name of each image that is in its
-- instance's bucket (BROCA_FILES_<instance>) until it expires there. NULL for most.
ALTER TABLE messages ADD COLUMN files jsonb;
