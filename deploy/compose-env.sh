#!/bin/sh
# Writes .env with new secrets for compose.yaml. Keeps an existing .env, whose secrets are in use.
set -eu
cd "$(dirname "$0")"
domain=${1:?usage: sh compose-env.sh DOMAIN}
if [ -e .env ]; then
  echo ".env exists already and was kept. Edit it by hand: new secrets would not open the vault" >&2
  exit 1
fi
umask 077
cat > .env <<END
DOMAIN=$domain
DATA_DIR=/opt/ocmt/data
JWT_SECRET=$(openssl rand -hex 32)
VAULT_KEY=k1:$(openssl rand -base64 32)
AUTH_TOKEN=$(openssl rand -hex 32)
ALLOWED_EMAILS=
END
