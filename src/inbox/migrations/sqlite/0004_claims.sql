-- How often the delivery was taken: unlike attempts, which begin anew when an operator says so, it only grows,
-- and so tells whose an attempt is.
ALTER TABLE deliveries ADD COLUMN claims INTEGER NOT NULL DEFAULT 0;
