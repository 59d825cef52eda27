"""Operations that have a plain reference and may have a fast kernel."""
