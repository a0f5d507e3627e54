"""Questions about images with their answers: from annotations by templates, or by a chat model."""
