"""GLM: chatglm.cn (智谱清言)."""
