-- The table the farm reads prices from, as the metering service has it (USD per million tokens).
-- For the compose profile `metering`; a real installation has the metering team's own database.
CREATE TABLE model_pricing (
    model TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    input_cost_per_mtok NUMERIC(10,4) NOT NULL DEFAULT 0,
    output_cost_per_mtok NUMERIC(10,4) NOT NULL DEFAULT 0,
    cache_write_cost_per_mtok NUMERIC(10,4) NOT NULL DEFAULT 0,
    cache_read_cost_per_mtok NUMERIC(10,4) NOT NULL DEFAULT 0
);
INSERT INTO model_pricing (model, provider, input_cost_per_mtok) VALUES
    ('claude-opus-4-6', 'anthropic', 15),
    ('claude-sonnet-4-20250514', 'anthropic', 3),
    ('claude-haiku-4-5-20251001', 'anthropic', 0.80),
    ('gpt-4o', 'openai', 2.50),
    ('gpt-4o-mini', 'openai', 0.15),
    ('gpt-4.1', 'openai', 2),
    ('gpt-5.5', 'openai', 2),
    ('gemini-2.5-pro', 'google', 1.25),
    ('gemini-2.0-flash', 'google', 0.10);
