-- Integration Health Tables
CREATE TABLE integration_health (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    integration_id VARCHAR(50) NOT NULL,
    status VARCHAR(20) NOT NULL,
    pricing_sync_status VARCHAR(20),
    fees_sync_status VARCHAR(20),
    booking_loss_rate DECIMAL(5,4),
    error_rate DECIMAL(5,4),
    last_checked TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    UNIQUE(integration_id, last_checked)
);

CREATE TABLE integration_events (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    integration_id VARCHAR(50) NOT NULL,
    event_type VARCHAR(50) NOT NULL,
    severity VARCHAR(20) NOT NULL,
    message TEXT,
    metadata JSONB,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW()
);

-- Indexes
CREATE INDEX idx_integration_health_integration ON integration_health(integration_id);
CREATE INDEX idx_integration_health_last_checked ON integration_health(last_checked DESC);
CREATE INDEX idx_integration_events_integration ON integration_events(integration_id);
CREATE INDEX idx_integration_events_occurred_at ON integration_events(occurred_at DESC);
CREATE INDEX idx_integration_events_type ON integration_events(event_type);
