"""The verbs, composed: discover → verify → decide → act. The only room that calls the others."""
