-- Roles for the people who use one PostgreSQL store. Run it as the owner of the tables, after each `store upgrade`:
--
--     psql -v ON_ERROR_STOP=1 -f roles.sql postgresql://owner@host/books
--
-- Then give each person a login of their own, for the audit trail names it beside the operator:
--
--     CREATE ROLE ada LOGIN PASSWORD '…' IN ROLE refundcli_clerk;
--
-- refundcli_viewer    sees everything and changes nothing
-- refundcli_clerk     imports, refunds, records, voids, reconciles
-- refundcli_approver  the same; limits and approvals tell both apart by their logins
--
-- No role may change or delete an audit entry, or delete a row of the books. The owner of the tables can do everything,
-- so nobody should work as the owner; an anchor outside the database shows what the owner changed.

DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['refundcli_viewer', 'refundcli_clerk', 'refundcli_approver'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END $$;

GRANT refundcli_viewer TO refundcli_clerk;
GRANT refundcli_clerk TO refundcli_approver;

GRANT USAGE ON SCHEMA public TO refundcli_viewer;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, refundcli_viewer, refundcli_clerk, refundcli_approver;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO refundcli_viewer;

GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO refundcli_clerk;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO refundcli_clerk;
-- What is not part of the books may be deleted: the index of words, a decision about a provider's word.
GRANT DELETE ON search_word, word_decision TO refundcli_clerk;

REVOKE UPDATE ON audit_entry FROM refundcli_clerk;
REVOKE INSERT, UPDATE ON alembic_version FROM refundcli_clerk;
