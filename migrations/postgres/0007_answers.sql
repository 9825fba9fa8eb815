-- The platform messages that were sent of an answer which takes several; a platform that takes it in one leaves this null.
ALTER TABLE responses ADD COLUMN parts jsonb;
