"""E-mail: mails read into messages, and messages made into mails."""
